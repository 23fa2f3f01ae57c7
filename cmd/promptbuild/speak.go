package main

import (
	"regexp"
	"sort"
	"strings"
)

// Digits are never left to the engine: it reads 501 as fifty-one, drops points and
// takes telephone numbers for amounts.
var (
	emergency = regexp.MustCompile(`\b(110|119|120|122)\b`)
	clock     = regexp.MustCompile(`(\d{1,2})[:：](\d{2})`)
	year      = regexp.MustCompile(`(\d{4})年`)
	decimal   = regexp.MustCompile(`(\d+)\.(\d+)`)
	amount    = regexp.MustCompile(`(\d{1,4})(个|位|分钟|小时|天|次|元|岁|米|公里|楼|层|月|日|号|点)`)
	money     = regexp.MustCompile(`[￥¥](\d+(?:\.\d+)?)`)
	key       = regexp.MustCompile(`(按)(\d)`)
	number    = regexp.MustCompile(`\d+`)
)

// speakable writes a text the way the engine reads it right: numbers in words by
// what they mean, SOS as 紧急呼叫, and polyphones in pinyin.
func speakable(text string) string {
	text = strings.ReplaceAll(text, "SOS", "紧急呼叫")
	text = money.ReplaceAllString(text, "${1}元")
	text = emergency.ReplaceAllStringFunc(text, byDigit)
	text = clock.ReplaceAllStringFunc(text, func(s string) string {
		m := clock.FindStringSubmatch(s)
		if m[2] == "00" {
			return amountOf(m[1]) + "点整"
		}
		return amountOf(m[1]) + "点" + minutes(m[2]) + "分"
	})
	text = year.ReplaceAllStringFunc(text, func(s string) string { return plain(s[:4]) + "年" })
	text = decimal.ReplaceAllStringFunc(text, func(s string) string {
		m := decimal.FindStringSubmatch(s)
		return amountOf(m[1]) + "点" + plain(m[2])
	})
	text = key.ReplaceAllStringFunc(text, func(s string) string {
		return "按" + plain(s[len("按"):])
	})
	text = amount.ReplaceAllStringFunc(text, func(s string) string {
		m := amount.FindStringSubmatch(s)
		return counted(m[1], m[2]) + m[2]
	})
	text = number.ReplaceAllStringFunc(text, byDigit)
	for _, word := range words() {
		text = strings.ReplaceAll(text, word, " "+polyphones[word]+" ")
	}
	return strings.TrimSpace(text)
}

// words are the polyphones, longest first.
func words() []string {
	all := make([]string, 0, len(polyphones))
	for w := range polyphones {
		all = append(all, w)
	}
	sort.Slice(all, func(i, j int) bool {
		if len(all[i]) != len(all[j]) {
			return len(all[i]) > len(all[j])
		}
		return all[i] < all[j]
	})
	return all
}

var chinese = [10]string{"零", "一", "二", "三", "四", "五", "六", "七", "八", "九"}

// byDigit reads telephone and room numbers: 1 is 幺.
func byDigit(s string) string { return strings.ReplaceAll(plain(s), "一", "幺") }

// plain reads years, decimals and keys digit by digit.
func plain(s string) string {
	var b strings.Builder
	for _, c := range s {
		b.WriteString(chinese[c-'0'])
	}
	return b.String()
}

func minutes(s string) string {
	if s[0] == '0' {
		return "零" + plain(s[1:])
	}
	return amountOf(s)
}

// counted says 两 before a measure word where Mandarin does.
func counted(s, unit string) string {
	if s == "2" && unit != "楼" && unit != "月" && unit != "日" && unit != "号" && unit != "层" {
		return "两"
	}
	return amountOf(s)
}

// amountOf reads an amount of up to four digits; longer ones are read by digit.
func amountOf(s string) string {
	s = strings.TrimLeft(s, "0")
	if s == "" {
		return "零"
	}
	if len(s) > 4 {
		return plain(s)
	}
	units := [4]string{"", "十", "百", "千"}
	var b strings.Builder
	gap := false
	for i, c := range s {
		place := len(s) - 1 - i
		if c == '0' {
			gap = true
			continue
		}
		if gap {
			b.WriteString("零")
			gap = false
		}
		if len(s) != 2 || i != 0 || c != '1' { // 十二, not 一十二
			b.WriteString(chinese[c-'0'])
		}
		b.WriteString(units[place])
	}
	return b.String()
}
