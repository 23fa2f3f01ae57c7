package geo

import (
	"cmp"
	"math"
	"slices"
	"sync"
)

// cellDeg is the side of an index cell: about 550 m of latitude.
const cellDeg = 0.005

type cell struct{ lat, lng int32 }

// Index finds the nearest of things that move. It is a grid of cells in memory,
// safe for concurrent use; an update costs a map write, a query looks at rings of
// cells outwards until nothing nearer can follow. The zero value is ready.
type Index struct {
	mu    sync.RWMutex
	at    map[string]Point
	cells map[cell]map[string]Point
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
		x.at, x.cells = map[string]Point{}, map[cell]map[string]Point{}
	}
	to := cellOf(p)
	if old, known := x.at[id]; known {
		if from := cellOf(old); from != to {
			x.take(id, from)
		}
	}
	x.at[id] = p
	if x.cells[to] == nil {
		x.cells[to] = map[string]Point{}
	}
	x.cells[to][id] = p
}

// Remove forgets id.
func (x *Index) Remove(id string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if p, known := x.at[id]; known {
		x.take(id, cellOf(p))
		delete(x.at, id)
	}
}

func (x *Index) take(id string, c cell) {
	delete(x.cells[c], id)
	if len(x.cells[c]) == 0 {
		delete(x.cells, c)
	}
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
	return p, known
}

// Nearest returns up to limit things within radiusM metres of p, nearest first;
// things at equal distance are in the order of their ids.
func (x *Index) Nearest(p Point, radiusM float64, limit int) []Hit {
	if limit <= 0 || radiusM < 0 {
		return nil
	}
	x.mu.RLock()
	defer x.mu.RUnlock()
	hits := []Hit{}
	centre := cellOf(p)
	// A cell's east–west side shrinks with the latitude; the ring's reach is that of
	// the shorter side.
	side := cellDeg * EarthRadiusM * math.Pi / 180 * math.Max(0.01, math.Cos(radians(math.Min(89, math.Abs(p.Lat)+0.5))))
	last := int32(math.Ceil(radiusM/side)) + 1
	if cells := int64(2*last+1) * int64(2*last+1); cells > int64(len(x.cells)) {
		hits = x.all(hits, p, radiusM)
		return first(hits, limit)
	}
	for ring := int32(0); ring <= last; ring++ {
		for _, c := range ringOf(centre, ring) {
			for id, at := range x.cells[c] {
				if d := Distance(p, at); d <= radiusM {
					hits = append(hits, Hit{ID: id, Point: at, DistanceM: d})
				}
			}
		}
		// What lies beyond this ring is at least ring sides away.
		if len(hits) >= limit && kth(hits, limit) <= float64(ring)*side {
			break
		}
	}
	return first(hits, limit)
}

func (x *Index) all(hits []Hit, p Point, radiusM float64) []Hit {
	for id, at := range x.at {
		if d := Distance(p, at); d <= radiusM {
			hits = append(hits, Hit{ID: id, Point: at, DistanceM: d})
		}
	}
	return hits
}

func first(hits []Hit, limit int) []Hit {
	slices.SortFunc(hits, func(a, b Hit) int {
		return cmp.Or(cmp.Compare(a.DistanceM, b.DistanceM), cmp.Compare(a.ID, b.ID))
	})
	return hits[:min(limit, len(hits))]
}

func kth(hits []Hit, k int) float64 {
	far := make([]float64, len(hits))
	for i, h := range hits {
		far[i] = h.DistanceM
	}
	slices.Sort(far)
	return far[k-1]
}

func cellOf(p Point) cell {
	return cell{int32(math.Floor(p.Lat / cellDeg)), int32(math.Floor(p.Lng / cellDeg))}
}

func ringOf(c cell, r int32) []cell {
	if r == 0 {
		return []cell{c}
	}
	ring := make([]cell, 0, 8*r)
	for d := -r; d <= r; d++ {
		ring = append(ring, cell{c.lat - r, c.lng + d}, cell{c.lat + r, c.lng + d})
	}
	for d := -r + 1; d < r; d++ {
		ring = append(ring, cell{c.lat + d, c.lng - r}, cell{c.lat + d, c.lng + r})
	}
	return ring
}
