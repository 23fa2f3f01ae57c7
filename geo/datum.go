package geo

import (
	"fmt"
	"math"
)

// Datum names the system of a coordinate on arrival. Inside Anling every point is
// WGS-84.
type Datum string

const (
	WGS84    Datum = "wgs84"
	CGCS2000 Datum = "cgcs2000" // within centimetres of WGS-84: taken as equal
	GCJ02    Datum = "gcj02"    // the public maps of China: shifted by up to 700 m
	BD09     Datum = "bd09"     // Baidu: shifted once more
)

// ToWGS84 brings a point of the given datum to WGS-84. The GCJ-02 shift has no
// closed inverse; four rounds of correction leave less than a centimetre.
func ToWGS84(p Point, d Datum) (Point, error) {
	switch d {
	case WGS84, CGCS2000, "":
		return p, nil
	case GCJ02:
		return unshift(p), nil
	case BD09:
		return unshift(fromBaidu(p)), nil
	}
	return Point{}, fmt.Errorf("datum %q is not one of wgs84, cgcs2000, gcj02, bd09", d)
}

// ToGCJ02 brings a WGS-84 point to GCJ-02, for maps that want it.
func ToGCJ02(p Point) Point {
	if outsideChina(p) {
		return p
	}
	dLat, dLng := shift(p)
	return Point{Lat: p.Lat + dLat, Lng: p.Lng + dLng}
}

func unshift(p Point) Point {
	if outsideChina(p) {
		return p
	}
	guess := p
	for range 4 {
		there := ToGCJ02(guess)
		guess.Lat -= there.Lat - p.Lat
		guess.Lng -= there.Lng - p.Lng
	}
	return guess
}

func fromBaidu(p Point) Point {
	const k = math.Pi * 3000 / 180
	x, y := p.Lng-0.0065, p.Lat-0.006
	z := math.Hypot(x, y) - 0.00002*math.Sin(y*k)
	theta := math.Atan2(y, x) - 0.000003*math.Cos(x*k)
	return Point{Lat: z * math.Sin(theta), Lng: z * math.Cos(theta)}
}

func outsideChina(p Point) bool {
	return p.Lng < 72.004 || p.Lng > 137.8347 || p.Lat < 0.8293 || p.Lat > 55.8271
}

// shift is the public approximation of the GCJ-02 offset, in degrees, on the
// Krasovsky 1940 ellipsoid.
func shift(p Point) (dLat, dLng float64) {
	const (
		a  = 6378245.0
		ee = 0.00669342162296594323
	)
	x, y := p.Lng-105, p.Lat-35
	root := math.Sqrt(math.Abs(x))
	common := (20*math.Sin(6*x*math.Pi) + 20*math.Sin(2*x*math.Pi)) * 2 / 3
	lat := -100 + 2*x + 3*y + 0.2*y*y + 0.1*x*y + 0.2*root + common +
		(20*math.Sin(y*math.Pi)+40*math.Sin(y/3*math.Pi))*2/3 +
		(160*math.Sin(y/12*math.Pi)+320*math.Sin(y*math.Pi/30))*2/3
	lng := 300 + x + 2*y + 0.1*x*x + 0.1*x*y + 0.1*root + common +
		(20*math.Sin(x*math.Pi)+40*math.Sin(x/3*math.Pi))*2/3 +
		(150*math.Sin(x/12*math.Pi)+300*math.Sin(x/30*math.Pi))*2/3
	rad := radians(p.Lat)
	magic := 1 - ee*math.Sin(rad)*math.Sin(rad)
	sqrt := math.Sqrt(magic)
	return degrees(lat / (a * (1 - ee) / (magic * sqrt))), degrees(lng / (a / sqrt * math.Cos(rad)))
}
