package care

import (
	"math"
	"strings"
	"unicode/utf8"

	"anling/geo"
)

// MaskPhone keeps the first three and the last four digits, of a landline its area
// code and the last four. Short numbers belong to nobody and stay.
func MaskPhone(number string) string {
	local := LocalPhone(number)
	area, rest, landline := strings.Cut(local, "-")
	switch {
	case landline && len(rest) > 4:
		return area + "****" + rest[len(rest)-4:]
	case utf8.RuneCountInString(local) <= 6 && digits(local):
		return local
	}
	r := []rune(local)
	if len(r) < 8 {
		return strings.Repeat("*", len(r))
	}
	return string(r[:3]) + "****" + string(r[len(r)-4:])
}

// MaskName keeps the first character.
func MaskName(name string) string {
	if name == "" {
		return ""
	}
	r, _ := utf8.DecodeRuneInString(name)
	return string(r) + "**"
}

// MaskID keeps the first three and the last four characters: more would show the
// date of birth.
func MaskID(number string) string {
	r := []rune(number)
	switch {
	case len(r) == 0:
		return ""
	case len(r) < 10:
		return string(r[:1]) + strings.Repeat("*", len(r)-1)
	}
	return string(r[:3]) + strings.Repeat("*", len(r)-7) + string(r[len(r)-4:])
}

// MaskExternal keeps the last four characters of a device's identity.
func MaskExternal(id string) string {
	if len(id) <= 4 {
		return id
	}
	return "****" + id[len(id)-4:]
}

// MaskPoint rounds to two decimals: about a kilometre.
func MaskPoint(p geo.Point) geo.Point {
	return geo.Point{Lat: math.Round(p.Lat*100) / 100, Lng: math.Round(p.Lng*100) / 100}
}

// maskArea cuts an area code down to the community.
func maskArea(a AreaCode) AreaCode {
	code, _, _ := strings.Cut(string(a), "-")
	return AreaCode(code[:min(12, len(code))])
}
