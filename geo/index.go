package geo

import (
	"cmp"
	"iter"
	"math"
	"slices"
	"sync"
)

// cellDeg is the side of an index cell: about 550 m of latitude.
const cellDeg = 0.005

// metresOfLat is a degree of latitude.
const metresOfLat = EarthRadiusM * math.Pi / 180

type cell struct{ lat, lng int32 }

// Index finds the nearest of things that move. It is a grid of cells in memory,
// safe for concurrent use; an update costs a map write, a query looks at rings of
// cells outwards until nothing nearer can follow. The zero value is ready.
type Index struct {
	mu    sync.RWMutex
	at    map[string]place // guarded by mu
	cells map[cell][]item  // guarded by mu; a slice is walked many times faster than a map
}

// place is where a thing is: in which cell, and the how manieth there.
type place struct {
	cell cell
	slot int
}

type item struct {
	id string
	at Point
}

// Hit is one answer of Nearest.
type Hit struct {
	ID        string
	Point     Point
	DistanceM float64 // great circle
}

// Put sets where id is.
func (x *Index) Put(id string, p Point) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.at == nil {
		x.at, x.cells = map[string]place{}, map[cell][]item{}
	}
	to := cellOf(p)
	if old, known := x.at[id]; known {
		if old.cell == to {
			x.cells[to][old.slot].at = p
			return
		}
		x.take(old)
	}
	x.at[id] = place{to, len(x.cells[to])}
	x.cells[to] = append(x.cells[to], item{id, p})
}

// Remove forgets id.
func (x *Index) Remove(id string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if p, known := x.at[id]; known {
		x.take(p)
		delete(x.at, id)
	}
}

// take empties a slot: the last thing of the cell moves there.
func (x *Index) take(p place) {
	items := x.cells[p.cell]
	last := len(items) - 1
	if p.slot != last {
		items[p.slot] = items[last]
		x.at[items[p.slot].id] = p
	}
	items[last] = item{}
	if last == 0 {
		delete(x.cells, p.cell)
		return
	}
	x.cells[p.cell] = items[:last]
}

// Len is how many things the index holds.
func (x *Index) Len() int {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return len(x.at)
}

// Point tells where id is.
func (x *Index) Point(id string) (Point, bool) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	p, known := x.at[id]
	if !known {
		return Point{}, false
	}
	return x.cells[p.cell][p.slot].at, true
}

// Nearest returns up to limit things within radiusM metres of p, nearest first;
// things at equal distance are in the order of their ids.
func (x *Index) Nearest(p Point, radiusM float64, limit int) []Hit {
	return x.NearestWhere(p, radiusM, limit, nil)
}

// NearestWhere is Nearest among the ids that take answers true for; a nil take
// answers true for all. take must not call the index.
func (x *Index) NearestWhere(p Point, radiusM float64, limit int, take func(id string) bool) []Hit {
	if limit <= 0 || radiusM < 0 {
		return nil
	}
	x.mu.RLock()
	defer x.mu.RUnlock()
	best := nearest{from: p, radiusM: radiusM, limit: limit, take: take}
	centre := cellOf(p)
	// A cell's east–west side shrinks with the latitude; the ring's reach is that of
	// the shorter side.
	side := cellDeg * EarthRadiusM * math.Pi / 180 * math.Max(0.01, math.Cos(radians(math.Min(89, math.Abs(p.Lat)+0.5))))
	last := int32(math.Ceil(radiusM/side)) + 1
	if cells := int64(2*last+1) * int64(2*last+1); cells > int64(len(x.cells)) {
		for _, items := range x.cells {
			best.addAll(items)
		}
		return best.sorted()
	}
	for ring := int32(0); ring <= last; ring++ {
		for c := range ringOf(centre, ring) {
			best.addAll(x.cells[c])
		}
		// What lies beyond this ring is at least ring sides away.
		if best.full() && best.hits[0].DistanceM <= float64(ring)*side {
			break
		}
	}
	return best.sorted()
}

// nearest gathers the limit nearest in a heap whose first is the farthest.
type nearest struct {
	from    Point
	radiusM float64
	limit   int
	take    func(id string) bool
	hits    []Hit
}

func (n *nearest) full() bool { return len(n.hits) == n.limit }

// addAll offers the things of a cell. What is too far north or south needs no
// great circle.
func (n *nearest) addAll(items []item) {
	for i := range items {
		most := n.radiusM
		if n.full() {
			most = n.hits[0].DistanceM
		}
		if math.Abs(items[i].at.Lat-n.from.Lat)*metresOfLat <= most+1 {
			n.add(items[i].id, items[i].at)
		}
	}
}

func (n *nearest) add(id string, at Point) {
	h := Hit{ID: id, Point: at, DistanceM: Distance(n.from, at)}
	if h.DistanceM > n.radiusM || (n.full() && compare(h, n.hits[0]) >= 0) || (n.take != nil && !n.take(id)) {
		return
	}
	if n.full() {
		n.hits[0] = h
		n.down()
		return
	}
	n.hits = append(n.hits, h)
	n.up()
}

func (n *nearest) up() {
	for i := len(n.hits) - 1; i > 0; {
		parent := (i - 1) / 2
		if compare(n.hits[i], n.hits[parent]) <= 0 {
			return
		}
		n.hits[i], n.hits[parent] = n.hits[parent], n.hits[i]
		i = parent
	}
}

func (n *nearest) down() {
	for i := 0; ; {
		far := i
		for child := 2*i + 1; child <= 2*i+2 && child < len(n.hits); child++ {
			if compare(n.hits[child], n.hits[far]) > 0 {
				far = child
			}
		}
		if far == i {
			return
		}
		n.hits[i], n.hits[far] = n.hits[far], n.hits[i]
		i = far
	}
}

func (n *nearest) sorted() []Hit {
	slices.SortFunc(n.hits, compare)
	return n.hits
}

func compare(a, b Hit) int {
	return cmp.Or(cmp.Compare(a.DistanceM, b.DistanceM), cmp.Compare(a.ID, b.ID))
}

func cellOf(p Point) cell {
	return cell{int32(math.Floor(p.Lat / cellDeg)), int32(math.Floor(p.Lng / cellDeg))}
}

// ringOf are the cells at r cells from c.
func ringOf(c cell, r int32) iter.Seq[cell] {
	return func(yield func(cell) bool) {
		if r == 0 {
			yield(c)
			return
		}
		for d := -r; d <= r; d++ {
			if !yield(cell{c.lat - r, c.lng + d}) || !yield(cell{c.lat + r, c.lng + d}) {
				return
			}
		}
		for d := -r + 1; d < r; d++ {
			if !yield(cell{c.lat + d, c.lng - r}) || !yield(cell{c.lat + d, c.lng + r}) {
				return
			}
		}
	}
}
