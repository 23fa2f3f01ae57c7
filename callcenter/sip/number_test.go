package sip

import "testing"

func TestNormalizeNumber(t *testing.T) {
	for _, c := range []struct {
		raw, want string
		ok        bool
	}{
		{"13800138000", "+8613800138000", true},
		{"013800138000", "+8613800138000", true},
		{"+8613800138000", "+8613800138000", true},
		{"008613800138000", "+8613800138000", true},
		{"8613800138000", "+8613800138000", true},
		{"087168112233", "+8687168112233", true},
		{"87168112233", "+8687168112233", true},
		{"01068112233", "+861068112233", true},
		{"68112233", "+8687168112233", true},
		{"0871-6811-2233", "+8687168112233", true},
		{"86112233", "+8687186112233", true}, // a local number that begins like the country
		{"+441134960000", "+441134960000", true},
		{"00441134960000", "+441134960000", true},
		{"120", "120", true},
		{"12345", "12345", true},
		{"4008123123", "4008123123", true},
		{"1064899123456", "+861064899123456", true}, // the card of a device
		{"anonymous", "anonymous", false},
		{"", "", false},
		{"+", "+", false},
		{"123456789012345678901234", "123456789012345678901234", false},
	} {
		if got, ok := normalizeNumber(c.raw, "0871"); got != c.want || ok != c.ok {
			t.Errorf("%q: %q %v, want %q %v", c.raw, got, ok, c.want, c.ok)
		}
	}
}

func TestDialString(t *testing.T) {
	for _, c := range []struct {
		number, form, want string
		ok                 bool
	}{
		{"+8613800138000", FormE164, "+8613800138000", true},
		{"+8613800138000", FormNational, "13800138000", true},
		{"+8687168112233", FormNational, "68112233", true},
		{"+861068112233", FormNational, "01068112233", true},
		{"120", FormNational, "120", true},
		{"+441134960000", FormNational, "+441134960000", true},
		{"12\r\n3", FormE164, "", false},
		{"1;x=y", FormE164, "", false},
		{"", FormE164, "", false},
		{"1+2", FormE164, "", false},
	} {
		if got, ok := dialString(c.number, c.form, "0871"); got != c.want || ok != c.ok {
			t.Errorf("%q %s: %q %v, want %q", c.number, c.form, got, ok, c.want)
		}
	}
}
