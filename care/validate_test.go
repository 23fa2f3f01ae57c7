package care

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

var today = time.Date(2026, 11, 25, 4, 0, 0, 0, time.UTC)

func TestIDNumbers(t *testing.T) {
	for _, c := range []struct {
		in, number, birth, sex, question string
	}{
		{"11010519491231002X", "11010519491231002X", "1949-12-31", "female", ""},
		{"11010519491231002x", "11010519491231002X", "1949-12-31", "female", ""},
		{"１１０１０５ 19491231 002ｘ", "11010519491231002X", "1949-12-31", "female", ""},
		{"34052419800101001X", "34052419800101001X", "1980-01-01", "male", "under_60"},
		{"440524188001010014", "440524188001010014", "1880-01-01", "male", "over_130"},
		{"110105491231002", "11010519491231002X", "1949-12-31", "female", ""},
		{"440524800101001", "440524198001010013", "1980-01-01", "male", "century"},
		{"990001194002290018", "990001194002290018", "1940-02-29", "male", ""},
		{"99000119300301001X", "99000119300301001X", "1930-03-01", "male", ""},
		{"990001195008150029", "990001195008150029", "1950-08-15", "female", ""},
		{"990001193811010034", "990001193811010034", "1938-11-01", "male", ""},
		{"990001191909090045", "990001191909090045", "1919-09-09", "female", ""},
	} {
		id, err := ParseIDNumber(c.in, today, true)
		if err != nil || id.Number != c.number || id.BirthDate() != c.birth || id.Sex() != c.sex || strings.Join(id.Questions, ",") != c.question {
			t.Errorf("%s is %+v (%s, %s), %v", c.in, id, id.BirthDate(), id.Sex(), err)
		}
	}
	for _, c := range []struct{ in, why string }{
		{"110105194912310021", "check"}, {"340524198001010010", "check"}, {"11010519491213002X", "check"},
		{"110105194902310026", "date of birth"}, {"110105209912310029", "future"}, {"", "18 characters"}, {"1101051949123100", "18 characters"},
		{"1101051949123100XX", "digits"}, {"110105４９１２３１00A", "18 characters"}, {"170105194912310028", "province"},
	} {
		if _, err := ParseIDNumber(c.in, today, true); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), c.why) {
			t.Errorf("%q gives %v, want one about %s", c.in, err, c.why)
		}
	}
	if _, err := ParseIDNumber("990001194002290018", today, false); err == nil {
		t.Error("the demo's prefix is accepted outside the demo")
	}
}

func TestPhones(t *testing.T) {
	for _, c := range []struct {
		in, area, want string
		kind           PhoneKind
		ext            string
		upgraded       bool
	}{
		{"63824111", "0871", "+8687163824111", Landline, "", false},
		{"0871-63824111", "0871", "+8687163824111", Landline, "", false},
		{"+86 871 6382 4111", "0871", "+8687163824111", Landline, "", false},
		{"+86 0871 6382 4111", "", "+8687163824111", Landline, "", false},
		{"3824111", "0871", "+8687163824111", Landline, "", true},
		{"0393-6996169", "0393", "+863936996169", Landline, "", false},
		{"（0393）6996169转8", "0393", "+863936996169", Landline, "8", false},
		{"6996169 ext. 12", "393", "+863936996169", Landline, "12", false},
		{"010-65550101", "", "+861065550101", Landline, "", false},
		{"13800138000", "", "+8613800138000", Mobile, "", false},
		{"013800138000", "", "+8613800138000", Mobile, "", false},
		{"0086 138-0013-8000", "", "+8613800138000", Mobile, "", false},
		{"１３８ ００１３ ８０００", "", "+8613800138000", Mobile, "", false},
		{"\u202d13800138000\u202c", "", "+8613800138000", Mobile, "", false},
		{"120", "0871", "120", ShortNumber, "", false},
		{"12345", "", "12345", ShortNumber, "", false},
		{"4008001234", "", "4008001234", ServiceLine, "", false},
		{"1064812345678", "", "+861064812345678", IoTNumber, "", false},
		{"+852 2345 6789", "", "+85223456789", ForeignPhone, "", false},
	} {
		p, err := ParsePhone(c.in, c.area)
		if err != nil || p != (Phone{c.want, c.ext, c.kind, c.upgraded}) {
			t.Errorf("%q is %+v, %v", c.in, p, err)
			continue
		}
		if again, err := ParsePhone(p.Number, c.area); err != nil || again.Number != p.Number {
			t.Errorf("%s read again is %+v, %v", p.Number, again, err)
		}
	}
	for _, in := range []string{"12800138000", "0871-1234567", "138001380001", "", "电话", "63824111a", "+", "12", "1380013800０1x", "0871", "00", "+8612"} {
		if p, err := ParsePhone(in, "0871"); !errors.Is(err, ErrInvalid) {
			t.Errorf("%q is %+v, %v", in, p, err)
		}
	}
	if _, err := ParsePhone("63824111", ""); err == nil {
		t.Error("a local number without an area code is taken")
	}
}

func TestNames(t *testing.T) {
	for in, want := range map[string]string{
		" 王秀英 ": "王秀英", "阿依古丽•买买提": "阿依古丽·买买提", "阿依古丽．买买提": "阿依古丽·买买提", "𠮷田": "𠮷田", "㐂": "㐂",
		"John  Smith": "John Smith", "欧阳 · 修": "欧阳·修", "王　小明": "王 小明", "\u200b李强": "李强",
	} {
		if got, err := NormalizeName(in); err != nil || got != want {
			t.Errorf("%q is %q, %v", in, got, err)
		}
	}
	for _, in := range []string{"", "  ", "王\ue000", "王1", "李<b>", "王\ufffd", "\xff王", "·", strings.Repeat("王", 51)} {
		if got, err := NormalizeName(in); !errors.Is(err, ErrInvalid) {
			t.Errorf("%q is %q, %v", in, got, err)
		}
	}
}

func TestUSCC(t *testing.T) {
	if got, err := ParseUSCC(" 91350100M000100Y43 "); err != nil || got != "91350100M000100Y43" {
		t.Errorf("%q, %v", got, err)
	}
	for _, bad := range []string{"91350100M000100Y44", "91350100M000100I43", "91350100M", ""} {
		if _, err := ParseUSCC(bad); !errors.Is(err, ErrInvalid) {
			t.Errorf("%q is taken: %v", bad, err)
		}
	}
}

func TestLuhnDigit(t *testing.T) {
	for _, imei := range []string{"868120145233604", "490154203237518"} {
		if got := LuhnDigit(imei[:14]); got != imei[14] {
			t.Errorf("%s ends in %c", imei, got)
		}
	}
}

func TestMasks(t *testing.T) {
	for in, want := range map[string]string{"+8613800138000": "138****8000", "+8687163824111": "0871****4111", "+861065550101": "010****0101", "120": "120", "": "", "4008001234": "400****1234"} {
		if got := MaskPhone(in); got != want {
			t.Errorf("%s is %s, want %s", in, got, want)
		}
	}
	if got := MaskName("𠮷田花子"); got != "𠮷**" {
		t.Errorf("name %s", got)
	}
	if got := MaskID("11010519491231002X"); got != "110***********002X" {
		t.Errorf("id %s", got)
	}
}

func TestSpelling(t *testing.T) {
	for _, c := range []struct {
		name, pinyin, initials string
		tokens                 []string
	}{
		{"张秀英", "zhangxiuying", "zxy", []string{"张秀英", "秀英", "英", "zhangxiuying", "xiuying", "ying", "zxy", "xy"}},
		{"单田芳", "shantianfang", "stf", []string{"shantianfang", "dantianfang", "tianfang"}},
		{"曾国藩", "zengguofan", "zgf", []string{"cengguofan", "cgf"}},
		{"仇英", "qiuying", "qy", []string{"chouying", "英"}},
		{"解缙", "xiejin", "xj", []string{"jiejin"}},
		{"查良镛", "zhaliangyong", "zly", []string{"chaliangyong"}},
		{"区寄", "ouji", "oj", []string{"quji"}},
		{"尉迟恭", "yuchigong", "ycg", []string{"weichigong", "迟恭"}},
		{"吕梁", "lvliang", "ll", []string{"luliang"}},
		{"John Smith", "johnsmith", "js", []string{"johnsmith", "smith"}},
		{"阿依古丽·买买提", "ayigulimaimaiti", "ayglmmt", []string{"买买提", "maimaiti"}},
		{"𠮷田", "tian", "t", []string{"𠮷田", "田"}},
	} {
		k := spell(c.name)
		if k.pinyin != c.pinyin || k.initials != c.initials {
			t.Errorf("%s is %s, %s", c.name, k.pinyin, k.initials)
		}
		for _, token := range c.tokens {
			if !slices.Contains(k.tokens, token) {
				t.Errorf("%s is not found by %s, only by %v", c.name, token, k.tokens)
			}
		}
	}
}

func TestSealedSecrets(t *testing.T) {
	v, err := newVault([]byte("0123456789abcdef0123456789abcdef"))
	if err != nil {
		t.Fatal(err)
	}
	e := Elder{ID: "e1", IDNumber: "990001194002290018", KeySafe: "1234", Communication: Communication{DuressWord: "晴天"}}
	sealed := v.seal(&e)
	if strings.Contains(sealed, "9900") || sealed == v.seal(&e) {
		t.Errorf("sealed as %s", sealed)
	}
	got := Elder{ID: "e1"}
	if err := v.open(sealed, &got); err != nil || got.IDNumber != e.IDNumber || got.KeySafe != "1234" || got.Communication.DuressWord != "晴天" {
		t.Errorf("opened as %+v, %v", got, err)
	}
	if err := v.open(sealed, &Elder{ID: "e2"}); err == nil {
		t.Error("the secrets of one are read as another's")
	}
	if err := v.open(sealed[:20]+"A"+sealed[21:], &Elder{ID: "e1"}); err == nil {
		t.Error("damaged secrets are read")
	}
	if e.IDNumber = ""; v.seal(&Elder{ID: "e3"}) != "" {
		t.Error("nothing is sealed as something")
	}
}

func TestAges(t *testing.T) {
	for birth, want := range map[string]int{"1940-11-25": 86, "1940-11-26": 85, "1940-12": 85, "1940": 86, "": -1, "x": -1} {
		if got := AgeAt(birth, today); got != want {
			t.Errorf("born %q is %d, want %d", birth, got, want)
		}
	}
	// 17:00 UTC is the next day in China.
	if got := AgeAt("1940-11-26", time.Date(2026, 11, 25, 17, 0, 0, 0, time.UTC)); got != 86 {
		t.Errorf("on the birthday %d", got)
	}
}

func FuzzParsePhone(f *testing.F) {
	for _, s := range []string{"63824111", "（0393）6996169转8", "+86 871 6382 4111", "1064812345678", "+85223456789"} {
		f.Add(s, "0871")
	}
	f.Fuzz(func(t *testing.T, raw, area string) {
		p, err := ParsePhone(raw, "0871")
		if err != nil {
			return
		}
		again, err := ParsePhone(p.Number, "0871")
		if err != nil || again.Number != p.Number || again.Kind != p.Kind {
			t.Errorf("%q is %+v, read again %+v, %v", raw, p, again, err)
		}
		_ = MaskPhone(area) // any text can be masked
	})
}

func FuzzParseIDNumber(f *testing.F) {
	f.Add("11010519491231002X")
	f.Add("440524800101001")
	f.Fuzz(func(t *testing.T, raw string) {
		id, err := ParseIDNumber(raw, today, true)
		if err != nil {
			return
		}
		again, err := ParseIDNumber(id.Number, today, true)
		if err != nil || again.Number != id.Number || len(id.Number) != 18 || !again.Birth.Equal(id.Birth) {
			t.Errorf("%q is %+v, read again %+v, %v", raw, id, again, err)
		}
	})
}

func FuzzNormalizeName(f *testing.F) {
	f.Add("阿依古丽•买买提")
	f.Add("John  Smith")
	f.Fuzz(func(t *testing.T, raw string) {
		name, err := NormalizeName(raw)
		if err != nil {
			return
		}
		if again, err := NormalizeName(name); err != nil || again != name {
			t.Errorf("%q is %q, read again %q, %v", raw, name, again, err)
		}
		if k := spell(name); len(k.tokens) == 0 || len(k.tokens) > maxTokens || !utf8.ValidString(strings.Join(k.tokens, "")) {
			t.Errorf("%q has %d tokens", name, len(k.tokens))
		}
	})
}
