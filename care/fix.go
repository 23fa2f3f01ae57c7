package care

import (
	"time"

	"anling/geo"
)

// Fix is a position with what makes it believable.
type Fix struct {
	Point     geo.Point `json:"point"`                // WGS-84
	Source    FixSource `json:"source"`               // where it comes from
	AccuracyM float64   `json:"accuracy_m,omitempty"` // radius in metres, 0 when unknown
	At        time.Time `json:"at"`                   // when it was taken; its age is now minus At
	Datum     string    `json:"datum,omitempty"`      // datum of arrival: wgs84, gcj02, bd09, cgcs2000
}

// FixSource tells how a position was found; the location ladder goes down this list.
type FixSource string

const (
	FixGNSS FixSource = "gnss" // satellites
	FixWifi FixSource = "wifi"
	FixCell FixSource = "cell"
	FixApp  FixSource = "app"  // the responder's telephone
	FixLast FixSource = "last" // the last one known, with its age
	FixHome FixSource = "home" // the elder's address
	FixBase FixSource = "base" // the responder's base
)
