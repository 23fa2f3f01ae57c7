package geo

import "time"

// Mode is how a responder moves.
type Mode string

const (
	Walk  Mode = "walk"
	Ebike Mode = "ebike"
	Drive Mode = "drive"
)

// Estimate is a travel estimate from the straight line: the way is longer by the
// detour factor, and getting out of the door and up the stairs takes its time.
type Estimate struct {
	DistanceM float64 // along the way
	Time      time.Duration
}

// Travel estimates the way from a to b. The factors are those of Chinese towns:
// streets make a way 1.3 times as long as the straight line on foot, 1.35 on an
// electric bicycle and 1.4 by car; an unknown mode is taken as walking.
func Travel(a, b Point, m Mode) Estimate {
	detour, metresPerSecond, start := 1.3, 1.3, 30*time.Second
	switch m {
	case Ebike:
		detour, metresPerSecond, start = 1.35, 4.2, 60*time.Second
	case Drive:
		detour, metresPerSecond, start = 1.4, 6.1, 150*time.Second
	}
	way := Distance(a, b) * detour
	return Estimate{DistanceM: way, Time: start + time.Duration(way/metresPerSecond*float64(time.Second))}
}
