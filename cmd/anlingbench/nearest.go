package main

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"math/rand"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tidwall/rtree"

	"anling/geo"
)

type nearestCmd struct {
	Sizes []int         `help:"How many responders." default:"10000,100000"`
	Phase time.Duration `help:"How long each phase of each engine runs." default:"2s"`
}

// The workload: ten nearest available responders with a skill, within five kilometres.
const (
	nearestK  = 10
	radiusM   = 5000
	skills    = 16
	metresDeg = 111319.49079327358
	midLng    = 102.715
	midLat    = 25.045
)

var cosMid = math.Cos(midLat * math.Pi / 180)

// person is a responder of the workload, in metres around the middle.
type person struct {
	x, y      float64
	skills    []int
	available bool
}

func point(x, y float64) geo.Point {
	return geo.Point{Lat: midLat + y/metresDeg, Lng: midLng + x/(metresDeg*cosMid)}
}

// world draws people and queries around the same clusters.
type world struct {
	r       *rand.Rand
	centres [40][3]float64
}

func newWorld(seed int64) *world {
	w := &world{r: rand.New(rand.NewSource(seed))}
	for i := range w.centres {
		w.centres[i] = [3]float64{w.r.NormFloat64() * 6000, w.r.NormFloat64() * 6000, 400 + w.r.Float64()*1200}
	}
	return w
}

func (w *world) place(r *rand.Rand) (x, y float64) {
	if r.Float64() < 0.8 {
		c := w.centres[r.Intn(len(w.centres))]
		return c[0] + r.NormFloat64()*c[2], c[1] + r.NormFloat64()*c[2]
	}
	return r.Float64()*40_000 - 20_000, r.Float64()*40_000 - 20_000
}

func (w *world) person() person {
	var p person
	p.x, p.y = w.place(w.r)
	for n := 0; n < 1+w.r.Intn(3); n++ {
		if s := w.r.Intn(skills); !slices.Contains(p.skills, s) {
			p.skills = append(p.skills, s)
		}
	}
	p.available = w.r.Intn(2) == 0
	return p
}

// query is one question.
type query struct {
	x, y  float64
	skill int
}

// engine answers the workload's question. Only the available are in it.
type engine interface {
	name() string
	put(i int, p *person, x, y float64) error // p is at x, y from now on; its old place is in p
	nearest(q query) ([]int, error)
	close()
}

// Run measures every engine with the same people and the same queries.
func (n nearestCmd) Run(ctx context.Context, c *cli) error {
	title("nearest", fmt.Sprintf("%d nearest available responders with one of %d skills within %d m; 40 clusters, seed 7", nearestK, skills, radiusM))
	for _, size := range n.Sizes {
		quiet(ctx, c.Quiet)
		if err := n.size(ctx, c, size); err != nil {
			return err
		}
	}
	return nil
}

func (n nearestCmd) size(ctx context.Context, c *cli, size int) error {
	w := newWorld(7)
	people := make([]person, size)
	for i := range people {
		people[i] = w.person()
	}
	r := rand.New(rand.NewSource(99))
	queries := make([]query, 20_000)
	for i := range queries {
		x, y := w.place(r)
		queries[i] = query{x, y, r.Intn(skills)}
	}
	var ours time.Duration
	for _, open := range []func(context.Context, *cli) (engine, error){newOurs, newFiltered, newTree, newRedis} {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		e, err := open(ctx, c)
		if err != nil {
			row(strconv.Itoa(size), "an engine is left out: %v", err)
			continue
		}
		p50, err := n.measure(e, slices.Clone(people), queries)
		e.close()
		if err != nil {
			return fmt.Errorf("%s: %w", e.name(), err)
		}
		if ours == 0 {
			ours = p50
		} else if e.name() == "Redis" {
			goal(fmt.Sprintf("nearest of %d faster than Redis GEOSEARCH of the same run", size), ours < p50, "%.1f times", float64(p50)/float64(ours))
		}
	}
	return nil
}

// measure runs the phases: one reader, two readers, one writer, both.
func (n nearestCmd) measure(e engine, people []person, queries []query) (time.Duration, error) {
	before := heap()
	for i := range people {
		if p := &people[i]; p.available {
			if err := e.put(i, p, p.x, p.y); err != nil {
				return 0, err
			}
		}
	}
	used := heap() - before
	same, expected, err := agree(e, people, queries[:60])
	if err != nil {
		return 0, err
	}
	one, err := n.readers(e, queries, nil)
	if err != nil {
		return 0, err
	}
	slices.Sort(one)
	both, err := n.pair(e, queries)
	if err != nil {
		return 0, err
	}
	moves, err := n.writer(e, people, time.Now().Add(n.Phase))
	if err != nil {
		return 0, err
	}
	var mixedMoves int
	var werr error
	var wg sync.WaitGroup
	end := time.Now().Add(n.Phase)
	wg.Go(func() { mixedMoves, werr = n.writer(e, people, end) })
	mixed, err := n.readers(e, queries, nil)
	wg.Wait()
	if err = cmp.Or(err, werr); err != nil {
		return 0, err
	}
	slices.Sort(mixed)
	per := func(k int) float64 { return float64(k) / n.Phase.Seconds() }
	us := func(all []time.Duration, q float64) float64 {
		if len(all) == 0 {
			return 0
		}
		return float64(all[min(int(q*float64(len(all))), len(all)-1)].Nanoseconds()) / 1000
	}
	row(fmt.Sprintf("%d, %s", len(people), e.name()), "p50 %.1f µs  p90 %.1f  p99 %.1f  p99.9 %.1f  max %.0f  %.0f/s, two readers %.0f/s; moves %.0f/s; mixed p99 %.1f µs at %.0f moves/s; %.1f MB; %d of %d as by brute force",
		us(one, .5), us(one, .9), us(one, .99), us(one, .999), us(one, 1), per(len(one)), per(both), per(moves), us(mixed, .99), per(mixedMoves), float64(used)/1e6, same, expected)
	return one[len(one)/2], nil
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// readers asks for the time of a phase, each question timed by itself.
func (n nearestCmd) readers(e engine, queries []query, took []time.Duration) ([]time.Duration, error) {
	end := time.Now().Add(n.Phase)
	for i := 0; ; i++ {
		started := time.Now()
		if _, err := e.nearest(queries[i%len(queries)]); err != nil {
			return nil, err
		}
		now := time.Now()
		took = append(took, now.Sub(started))
		if now.After(end) {
			return took, nil
		}
	}
}

// pair is how many questions two goroutines ask.
func (n nearestCmd) pair(e engine, queries []query) (int, error) {
	var asked atomic.Int64
	var failed [2]error
	var wg sync.WaitGroup
	end := time.Now().Add(n.Phase)
	for g := range failed {
		wg.Go(func() {
			for i := g * len(queries) / 2; time.Now().Before(end); i++ {
				if _, failed[g] = e.nearest(queries[i%len(queries)]); failed[g] != nil {
					return
				}
				asked.Add(1)
			}
		})
	}
	wg.Wait()
	return int(asked.Load()), cmp.Or(failed[0], failed[1])
}

// writer moves people by up to 200 m; those who are not available cost nothing.
func (n nearestCmd) writer(e engine, people []person, end time.Time) (int, error) {
	r := rand.New(rand.NewSource(5))
	for moved := 0; ; moved++ {
		i, angle, far := r.Intn(len(people)), r.Float64()*6.283, r.Float64()*200
		p := &people[i]
		x, y := p.x+far*math.Cos(angle), p.y+far*math.Sin(angle)
		if p.available {
			if err := e.put(i, p, x, y); err != nil {
				return 0, err
			}
		}
		p.x, p.y = x, y
		if moved%16 == 0 && time.Now().After(end) {
			return moved, nil
		}
	}
}

// agree compares with brute force, as sets.
func agree(e engine, people []person, queries []query) (same, expected int, err error) {
	for _, q := range queries {
		type hit struct {
			i int
			d float64
		}
		var all []hit
		for i, p := range people {
			if !p.available || !slices.Contains(p.skills, q.skill) {
				continue
			}
			if d := geo.Distance(point(q.x, q.y), point(p.x, p.y)); d <= radiusM {
				all = append(all, hit{i, d})
			}
		}
		slices.SortFunc(all, func(a, b hit) int { return cmp.Compare(a.d, b.d) })
		all = all[:min(nearestK, len(all))]
		got, err := e.nearest(q)
		if err != nil {
			return 0, 0, err
		}
		expected += len(all)
		for _, h := range all {
			if slices.Contains(got, h.i) {
				same++
			}
		}
	}
	return same, expected, nil
}

// ours is geo.Index, one for each skill.
type ours struct {
	ids   []string
	index [skills]geo.Index
}

func newOurs(context.Context, *cli) (engine, error) { return &ours{}, nil }

func (o *ours) name() string { return "geo.Index for each skill" }
func (o *ours) close()       {}

func (o *ours) put(i int, p *person, x, y float64) error {
	for i >= len(o.ids) {
		o.ids = append(o.ids, strconv.Itoa(len(o.ids)))
	}
	for _, s := range p.skills {
		o.index[s].Put(o.ids[i], point(x, y))
	}
	return nil
}

func (o *ours) nearest(q query) ([]int, error) {
	return numbers(o.index[q.skill].Nearest(point(q.x, q.y), radiusM, nearestK))
}

func numbers(hits []geo.Hit) ([]int, error) {
	all := make([]int, len(hits))
	for i, h := range hits {
		var err error
		if all[i], err = strconv.Atoi(h.ID); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// filtered is one geo.Index for all, asked with a condition, as the dispatcher does.
type filtered struct {
	index  geo.Index
	ids    []string
	skills map[string]uint32
}

func newFiltered(context.Context, *cli) (engine, error) {
	return &filtered{skills: map[string]uint32{}}, nil
}

func (f *filtered) name() string { return "one geo.Index with a condition" }
func (f *filtered) close()       {}

func (f *filtered) put(i int, p *person, x, y float64) error {
	for i >= len(f.ids) {
		f.ids = append(f.ids, strconv.Itoa(len(f.ids)))
	}
	id := f.ids[i]
	if _, known := f.skills[id]; !known { // only while it is filled: later it is read
		for _, s := range p.skills {
			f.skills[id] |= 1 << s
		}
	}
	f.index.Put(id, point(x, y))
	return nil
}

func (f *filtered) nearest(q query) ([]int, error) {
	return numbers(f.index.NearestWhere(point(q.x, q.y), radiusM, nearestK, func(id string) bool { return f.skills[id]&(1<<q.skill) != 0 }))
}

// tree is an R-tree of the plane, one for each skill.
type tree struct {
	mu    [skills]sync.RWMutex
	trees [skills]rtree.RTreeG[int]
	known map[int]bool
}

func newTree(context.Context, *cli) (engine, error) { return &tree{known: map[int]bool{}}, nil }

func (t *tree) name() string { return "R-tree for each skill" }
func (t *tree) close()       {}

func (t *tree) put(i int, p *person, x, y float64) error {
	for _, s := range p.skills {
		t.mu[s].Lock()
		if from := [2]float64{p.x, p.y}; t.known[i] {
			t.trees[s].Delete(from, from, i)
		}
		to := [2]float64{x, y}
		t.trees[s].Insert(to, to, i)
		t.mu[s].Unlock()
	}
	t.known[i] = true
	return nil
}

func (t *tree) nearest(q query) ([]int, error) {
	t.mu[q.skill].RLock()
	defer t.mu[q.skill].RUnlock()
	all := make([]int, 0, nearestK)
	at := [2]float64{q.x, q.y}
	t.trees[q.skill].Nearby(rtree.BoxDist[float64, int](at, at, nil), func(_, _ [2]float64, i int, d float64) bool {
		if d > radiusM*radiusM {
			return false
		}
		all = append(all, i)
		return len(all) < nearestK
	})
	return all, nil
}
