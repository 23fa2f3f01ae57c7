package care

import (
	"regexp"
	"strings"
)

// PhoneKind is what kind of line a number is.
type PhoneKind string

const (
	Mobile       PhoneKind = "mobile"
	Landline     PhoneKind = "landline"
	ShortNumber  PhoneKind = "short"   // 120, 12345
	ServiceLine  PhoneKind = "service" // 400, 800
	IoTNumber    PhoneKind = "iot"     // a data SIM; no voice unless the carrier opened it
	ForeignPhone PhoneKind = "foreign"
)

// Phone is a telephone number as it is stored.
type Phone struct {
	Number   string // E.164; short and 400/800 numbers as they are dialled
	Ext      string
	Kind     PhoneKind
	Upgraded bool // an old Kunming number of seven digits got its 6
}

// NormalizePhone is ParsePhone for who wants the number alone.
func NormalizePhone(raw, areaCode string) (string, error) {
	p, err := ParsePhone(raw, areaCode)
	return p.Number, err
}

var extension = regexp.MustCompile(`(?i)^(.*?)\s*(?:转|轉|分机|ext\.?|x|#)\s*[:：]?\s*(\d{1,8})\s*$`)

// ParsePhone reads a number as people write it. AreaCode, with or without its 0,
// completes local numbers of seven or eight digits.
func ParsePhone(raw, areaCode string) (Phone, error) {
	if len(raw) > 100 {
		return Phone{}, Invalid("phone", "is too long for a telephone number")
	}
	s := fold(raw)
	var ext string
	if strings.ContainsAny(s, "转轉分xXtT#") {
		if m := extension.FindStringSubmatch(s); m != nil {
			s, ext = m[1], m[2]
		}
	}
	s = strings.Map(dropSeparator, s)
	country := false
	switch {
	case strings.HasPrefix(s, "+86"):
		s, country = s[3:], true
	case strings.HasPrefix(s, "0086"):
		s, country = s[4:], true
	case strings.HasPrefix(s, "+"):
		return foreign(s[1:], ext)
	case strings.HasPrefix(s, "00"):
		return foreign(s[2:], ext)
	}
	if !digits(s) {
		return Phone{}, Invalid("phone", "%s is not a telephone number", MaskPhone(s))
	}
	if len(s) == 12 && s[0] == '0' && mobile(s[1:]) {
		s = s[1:]
	}
	p, ok := domestic(s, country, strings.TrimPrefix(areaCode, "0"))
	if !ok {
		return Phone{}, Invalid("phone", "%s is not a telephone number", MaskPhone(s))
	}
	p.Ext = ext
	return p, nil
}

func domestic(s string, country bool, area string) (Phone, bool) {
	switch {
	case mobile(s):
		return Phone{Number: "+86" + s, Kind: Mobile}, true
	case len(s) == 13 && (strings.HasPrefix(s, "106") || strings.HasPrefix(s, "14")):
		return Phone{Number: "+86" + s, Kind: IoTNumber}, true
	case len(s) == 10 && (strings.HasPrefix(s, "400") || strings.HasPrefix(s, "800")):
		return Phone{Number: s, Kind: ServiceLine}, true
	case len(s) >= 3 && len(s) <= 6 && s[0] != '0' && !country:
		return Phone{Number: s, Kind: ShortNumber}, true
	case s[0] == '0':
		return landline(s[1:])
	case country:
		return landline(s)
	case (len(s) == 7 || len(s) == 8) && area != "":
		return landline(area + s)
	}
	return Phone{}, false
}

func mobile(s string) bool { return len(s) == 11 && s[0] == '1' && s[1] >= '3' }

// landline reads an area code without its 0 and a local number: two digits for 10
// and 2x, else three.
func landline(s string) (Phone, bool) {
	n := areaLen(s)
	if n == 0 || len(s) < n+7 || len(s) > n+8 {
		return Phone{}, false
	}
	area, local := s[:n], s[n:]
	if local[0] == '0' || local[0] == '1' {
		return Phone{}, false
	}
	p := Phone{Kind: Landline}
	if area == "871" && len(local) == 7 { // Kunming, 16 December 2012
		local, p.Upgraded = "6"+local, true
	}
	p.Number = "+86" + area + local
	return p, true
}

// areaLen is the length of the area code, without its 0, at the start of s.
func areaLen(s string) int {
	switch {
	case len(s) < 3:
		return 0
	case strings.HasPrefix(s, "10"), s[0] == '2':
		return 2
	case s[0] >= '3' && s[0] <= '9':
		return 3
	}
	return 0
}

func foreign(s, ext string) (Phone, error) {
	if !digits(s) || len(s) < 8 || len(s) > 15 || s[0] == '0' {
		return Phone{}, Invalid("phone", "a foreign number has its country's code and 8 to 15 digits")
	}
	return Phone{Number: "+" + s, Ext: ext, Kind: ForeignPhone}, nil
}

// isMobile tells a stored number that goes with its owner from one that stays at home.
func isMobile(e164 string) bool { s, ok := strings.CutPrefix(e164, "+86"); return ok && mobile(s) }

// LocalPhone is a stored number as people in the country write it.
func LocalPhone(e164 string) string {
	s, ok := strings.CutPrefix(e164, "+86")
	switch {
	case !ok:
		return e164
	case mobile(s) || len(s) == 13:
		return s
	}
	if n := areaLen(s); n > 0 && len(s) > n {
		return "0" + s[:n] + "-" + s[n:]
	}
	return s
}

// reversed turns a number round, digits only: then a search for its last digits is
// a search for a prefix.
func reversed(number string) string {
	b := make([]byte, 0, len(number))
	for i := len(number) - 1; i >= 0; i-- {
		if c := number[i]; c != '+' {
			b = append(b, c)
		}
	}
	return string(b)
}
