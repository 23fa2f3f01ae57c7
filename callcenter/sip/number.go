package sip

import (
	"strings"

	"anling/care"
)

// normalizeNumber turns what a carrier sends as a caller or called number into
// E.164, the form that is stored and matched; ok is false for what is not a
// telephone number. care rules what a number is, so that a caller finds his
// elder; here is only what carriers do to it on the way: 86 without a plus, an
// area code that lost its zero, codes that only they know. areaCode is that of the
// trunk: local numbers get it.
func normalizeNumber(raw, areaCode string) (number string, ok bool) {
	s := strings.Map(func(r rune) rune {
		if strings.ContainsRune(" -.()", r) {
			return -1
		}
		return r
	}, raw)
	digits := strings.TrimPrefix(s, "+")
	if len(digits) > 20 || !allDigits(digits) {
		return raw, false
	}
	try := []string{s}
	if strings.HasPrefix(s, "86") && len(s) >= 12 {
		try = append(try, "+"+s)
	}
	if s == digits && len(s) >= 9 {
		try = append(try, "0"+s)
	}
	for _, t := range try {
		if n, err := care.NormalizePhone(t, areaCode); err == nil {
			return n, true
		}
	}
	return s, len(digits) >= 2 && len(digits) <= 15
}

func allDigits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}

// dialString is a number as a carrier wants to see it. Only digits, +, * and #
// are ever put into a request (T31).
func dialString(number, form, areaCode string) (string, bool) {
	if number == "" || len(number) > 24 || !dialable(number) {
		return "", false
	}
	rest, china := strings.CutPrefix(number, "+86")
	if form != FormNational || !china {
		return number, true
	}
	if len(rest) == 11 && rest[0] == '1' && rest[1] >= '3' {
		return rest, true
	}
	if area := strings.TrimLeft(areaCode, "0"); area != "" && strings.HasPrefix(rest, area) && len(rest)-len(area) >= 7 {
		return strings.TrimPrefix(rest, area), true
	}
	return "0" + rest, true
}

func dialable(s string) bool {
	for i := range len(s) {
		switch c := s[i]; {
		case c >= '0' && c <= '9', c == '*', c == '#':
		case c == '+' && i == 0:
		default:
			return false
		}
	}
	return true
}

// maskNumber keeps the first three and the last four characters, for logs.
func maskNumber(s string) string {
	if len(s) <= 7 {
		return strings.Repeat("*", len(s))
	}
	return s[:3] + strings.Repeat("*", len(s)-7) + s[len(s)-4:]
}
