package care

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// fold turns full-width forms into ASCII and the ideographic space into a space.
func fold(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r >= 0xFF01 && r <= 0xFF5E:
			return r - 0xFEE0
		case r == 0x3000:
			return ' '
		}
		return r
	}, s)
}

// dropSpace removes white space and what copying leaves behind: zero-width and
// direction marks, byte order marks.
func dropSpace(r rune) rune {
	if unicode.IsSpace(r) || unicode.Is(unicode.Cf, r) {
		return -1
	}
	return r
}

func digits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}

// maxName is the length of a name in characters.
const maxName = 50

// NormalizeName checks a person's name: 1 to 50 Han characters (rare ones
// included), letters, spaces and middle dots. The several dots become one.
func NormalizeName(raw string) (string, error) {
	var b strings.Builder
	space, last := false, ' '
	for _, r := range fold(strings.ToValidUTF8(raw, "\uFFFD")) {
		switch {
		case unicode.IsSpace(r):
			space = b.Len() > 0
			continue
		case r == '·' || r == '•' || r == '．' || r == '.' || r == '‧' || r == '・' || r == '･':
			r = '·'
		case unicode.Is(unicode.Cf, r):
			continue
		case r == utf8.RuneError:
			return "", Invalid("name", "a character cannot be read: is the encoding right?")
		case unicode.Is(unicode.Co, r):
			return "", Invalid("name", "the character U+%04X is of somebody's private set: write the real one", r)
		case !unicode.Is(unicode.Han, r) && !unicode.IsLetter(r) && !unicode.Is(unicode.Mn, r):
			return "", Invalid("name", "the character %q cannot be in a name", r)
		}
		if space && r != '·' && last != '·' {
			b.WriteByte(' ')
		}
		space, last = false, r
		b.WriteRune(r)
	}
	name := strings.Trim(b.String(), "· ")
	switch n := utf8.RuneCountInString(name); {
	case n == 0:
		return "", Invalid("name", "is empty")
	case n > maxName:
		return "", Invalid("name", "has %d characters, at most %d", n, maxName)
	}
	return name, nil
}

const usccChars = "0123456789ABCDEFGHJKLMNPQRTUWXY"

// ParseUSCC checks a unified social credit code (GB 32100-2015): 18 characters,
// the last one a check over 31.
func ParseUSCC(raw string) (string, error) {
	s := strings.ToUpper(strings.Map(dropSpace, fold(raw)))
	if len(s) != 18 {
		return "", Invalid("uscc", "a social credit code has 18 characters, this has %d", len([]rune(s)))
	}
	sum, weight := 0, 1
	for i := range 17 {
		v := strings.IndexByte(usccChars, s[i])
		if v < 0 {
			return "", Invalid("uscc", "the character %q cannot be in a social credit code", s[i])
		}
		sum += v * weight
		weight = weight * 3 % 31
	}
	if want := usccChars[(31-sum%31)%31]; s[17] != want {
		return "", Invalid("uscc", "the check character is wrong: some character is mistyped")
	}
	return s, nil
}

// LuhnDigit is the check digit (ISO/IEC 7812-1) that follows a number of digits, as in
// an IMEI.
func LuhnDigit(number string) byte {
	sum := 0
	for i := range len(number) {
		d := int(number[len(number)-1-i] - '0')
		if i%2 == 0 {
			if d *= 2; d > 9 {
				d -= 9
			}
		}
		sum += d
	}
	return byte('0' + (10-sum%10)%10)
}

// dropSeparator removes what people write between digits.
func dropSeparator(r rune) rune {
	if strings.ContainsRune("-()./·–—－_", r) {
		return -1
	}
	return dropSpace(r)
}
