package care

import (
	"strings"
	"time"
)

// IDNumber is a resident's ID number (GB 11643-1999), checked.
type IDNumber struct {
	Number    string // 18 characters, the last may be X
	Birth     time.Time
	Male      bool
	Questions []string // doubts to be asked, not refused: over_130, under_60, century
}

// Sex is the word the records use.
func (n IDNumber) Sex() string {
	if n.Male {
		return "male"
	}
	return "female"
}

// BirthDate is the day of birth as the records keep it.
func (n IDNumber) BirthDate() string { return n.Birth.Format(time.DateOnly) }

const idChecks = "10X98765432"

var idWeights = [17]int{7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2}

// idProvinces are the first two digits in use. The rest of the area code is not
// checked: old codes are valid on old cards.
const idProvinces = "11 12 13 14 15 21 22 23 31 32 33 34 35 36 37 41 42 43 44 45 46 50 51 52 53 54 61 62 63 64 65 71 81 82 83 91"

// DemoProvince is an unallocated prefix; only demo mode accepts it.
const DemoProvince = "99"

// ParseIDNumber checks an ID number and tells birth and sex. It takes full-width
// digits, spaces, a small x, and the 15 digits of the first generation. Demo
// accepts the prefix of generated districts.
func ParseIDNumber(raw string, now time.Time, demo bool) (IDNumber, error) {
	s := strings.ToUpper(strings.Map(dropSpace, fold(raw)))
	old := len(s) == 15
	switch {
	case old && digits(s):
		s = s[:6] + "19" + s[6:]
		s += string(idCheck(s))
	case len(s) != 18:
		return IDNumber{}, Invalid("id_number", "an ID number has 18 characters (or 15), this has %d", len([]rune(s)))
	case !digits(s[:17]) || (!digits(s[17:]) && s[17] != 'X'):
		return IDNumber{}, Invalid("id_number", "an ID number has 17 digits and a last digit or X")
	}
	if p := s[:2]; !strings.Contains(idProvinces, p) && (p != DemoProvince || !demo) {
		return IDNumber{}, Invalid("id_number", "no province has the number %s", p)
	}
	if want := idCheck(s[:17]); s[17] != want {
		return IDNumber{}, Invalid("id_number", "the check character is wrong: some digit is mistyped")
	}
	birth, err := time.Parse("20060102", s[6:14])
	if err != nil {
		return IDNumber{}, Invalid("id_number", "%s-%s-%s is not a date of birth", s[6:10], s[10:12], s[12:14])
	}
	if birth.After(now) {
		return IDNumber{}, Invalid("id_number", "the date of birth %s is in the future", birth.Format(time.DateOnly))
	}
	n := IDNumber{Number: s, Birth: birth, Male: (s[16]-'0')%2 == 1}
	switch age := AgeAt(n.BirthDate(), now); {
	case age > 130:
		n.Questions = append(n.Questions, "over_130")
	case age < 60 && old:
		n.Questions = append(n.Questions, "century") // the standard's own example was born in 1880
	case age < 60:
		n.Questions = append(n.Questions, "under_60")
	}
	return n, nil
}

func idCheck(first17 string) byte {
	sum := 0
	for i, w := range idWeights {
		sum += int(first17[i]-'0') * w
	}
	return idChecks[sum%11]
}

// AgeAt is the age in full years on a day; -1 when the date of birth is unknown.
// A date without day or month counts from its first day.
func AgeAt(birthDate string, now time.Time) int {
	birth, ok := parseBirth(birthDate)
	if !ok {
		return -1
	}
	// A day of birth is a day in China.
	now = now.In(chinaTime)
	age := now.Year() - birth.Year()
	if now.Month() < birth.Month() || now.Month() == birth.Month() && now.Day() < birth.Day() {
		age--
	}
	return age
}

var chinaTime = time.FixedZone("CST", 8*3600)

func parseBirth(s string) (time.Time, bool) {
	for _, layout := range []string{time.DateOnly, "2006-01", "2006"} {
		if t, err := time.Parse(layout, s); err == nil {
			return t, true
		}
	}
	return time.Time{}, false
}
