// Package geo holds geometry: points, datums, the live index of the nearest, travel
// estimates. It knows no elder and no responder.
package geo

// Point is a position in WGS-84 degrees. The zero Point is "no position".
type Point struct {
	Lat float64 `json:"lat"`
	Lng float64 `json:"lng"`
}

// IsZero reports whether there is no position: (0, 0) is the value devices send
// when they have no fix.
func (p Point) IsZero() bool { return p.Lat == 0 && p.Lng == 0 }
