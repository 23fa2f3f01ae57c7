package geo

import "math"

// EarthRadiusM is the mean radius of the Earth in metres (IUGG, R1).
const EarthRadiusM = 6371008.8

// Distance is the great-circle distance of a and b in metres, by the haversine
// formula; within 0.5 % of the ellipsoid, and exact enough at a few metres.
func Distance(a, b Point) float64 {
	lat1, lat2 := radians(a.Lat), radians(b.Lat)
	sinLat := math.Sin((lat2 - lat1) / 2)
	sinLng := math.Sin(radians(b.Lng-a.Lng) / 2)
	h := sinLat*sinLat + math.Cos(lat1)*math.Cos(lat2)*sinLng*sinLng
	return 2 * EarthRadiusM * math.Asin(math.Min(1, math.Sqrt(h)))
}

// Offset is the point eastM metres east and northM metres north of p, for
// distances of a town.
func Offset(p Point, eastM, northM float64) Point {
	return Point{
		Lat: p.Lat + degrees(northM/EarthRadiusM),
		Lng: p.Lng + degrees(eastM/(EarthRadiusM*math.Cos(radians(p.Lat)))),
	}
}

func radians(d float64) float64 { return d * math.Pi / 180 }
func degrees(r float64) float64 { return r * 180 / math.Pi }
