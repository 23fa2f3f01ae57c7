package care

import (
	"slices"
	"strings"
	"sync"
	"unicode"

	"github.com/mozillazg/go-pinyin"
)

// surnames are the readings that a character has as a surname, where they differ
// from its usual one. The first is written in the record; all are found.
var surnames = map[string][]string{
	"单": {"shan"}, "曾": {"zeng"}, "仇": {"qiu"}, "解": {"xie"}, "查": {"zha"}, "区": {"ou"}, "任": {"ren"},
	"盖": {"ge", "gai"}, "朴": {"piao", "pu"}, "缪": {"miao"}, "乐": {"yue", "le"}, "员": {"yun"}, "冼": {"xian"},
	"洗": {"xian"}, "黑": {"he", "hei"}, "纪": {"ji"}, "华": {"hua"}, "宁": {"ning"}, "翟": {"zhai", "di"},
	"折": {"she"}, "召": {"shao"}, "种": {"chong"}, "重": {"chong"}, "隽": {"juan"}, "繁": {"po"}, "燕": {"yan"},
	"应": {"ying"}, "哈": {"ha"}, "那": {"na"}, "秘": {"bi"}, "覃": {"qin", "tan"}, "谌": {"chen", "shen"},
	"逄": {"pang"}, "幺": {"yao"}, "过": {"guo"}, "晁": {"chao"}, "祭": {"zhai"}, "瞿": {"qu"}, "佴": {"nai"},
	"宓": {"mi", "fu"}, "尉": {"wei"}, "褚": {"chu"}, "卜": {"bu"}, "曲": {"qu"}, "车": {"che"}, "石": {"shi"},
	"沈": {"shen"}, "柏": {"bai", "bo"}, "贾": {"jia"}, "葛": {"ge"}, "尹": {"yin"}, "相": {"xiang"}, "撒": {"sa"},
	"强": {"qiang"}, "牟": {"mu", "mou"}, "万": {"wan"}, "夏": {"xia"}, "吕": {"lv", "lu", "lyu"}, "闾": {"lv", "lu"},
	"能": {"nai"}, "难": {"ning"}, "句": {"gou"}, "炔": {"gui"}, "适": {"kuo"}, "郇": {"xun", "huan"}, "郗": {"xi", "chi"},
	"郝": {"hao"}, "么": {"yao"}, "盛": {"sheng"}, "谷": {"gu"}, "藏": {"zang"}, "贲": {"ben"}, "都": {"du"}, "俞": {"yu"},
	"薄": {"bo"}, "行": {"xing"}, "危": {"wei"}, "便": {"pian"}, "不": {"fou"}, "阚": {"kan"}, "降": {"jiang"},
}

// compounds are surnames of two characters, with their reading.
var compounds = map[string][2]string{
	"欧阳": {"ou", "yang"}, "司马": {"si", "ma"}, "上官": {"shang", "guan"}, "诸葛": {"zhu", "ge"}, "夏侯": {"xia", "hou"},
	"尉迟": {"yu", "chi"}, "长孙": {"zhang", "sun"}, "万俟": {"mo", "qi"}, "令狐": {"ling", "hu"}, "澹台": {"tan", "tai"},
	"亓官": {"qi", "guan"}, "单于": {"chan", "yu"}, "皇甫": {"huang", "fu"}, "尉犁": {"wei", "li"}, "慕容": {"mu", "rong"},
	"宇文": {"yu", "wen"}, "司徒": {"si", "tu"}, "东方": {"dong", "fang"}, "公孙": {"gong", "sun"}, "端木": {"duan", "mu"},
	"鲜于": {"xian", "yu"}, "赫连": {"he", "lian"}, "申屠": {"shen", "tu"}, "太史": {"tai", "shi"}, "呼延": {"hu", "yan"},
}

const (
	maxReadings = 8  // spellings of one run of characters
	maxTokens   = 80 // of one name
)

// nameKeys are the ways in which a name is found.
type nameKeys struct {
	pinyin   string   // "zhangxiuying"
	initials string   // "zxy"
	tokens   []string // every suffix of the name, of its spellings and of their initials
}

// nameCache keeps the keys of the names seen last: a tenth of the names cover most
// of the people.
type nameCache struct {
	mu sync.Mutex
	m  map[string]nameKeys // guarded by mu
}

const nameCacheSize = 1 << 16

func (c *nameCache) keys(name string) nameKeys {
	c.mu.Lock()
	k, ok := c.m[name]
	c.mu.Unlock()
	if ok {
		return k
	}
	k = spell(name)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.m == nil || len(c.m) >= nameCacheSize {
		c.m = make(map[string]nameKeys, 1024)
	}
	c.m[name] = k
	return k
}

var names nameCache

// spell works out the keys of a name.
func spell(name string) nameKeys {
	parts := readings(name)
	var k nameKeys
	for _, p := range parts {
		k.pinyin += p[0]
		k.initials += p[0][:1]
	}
	seen := map[string]bool{}
	add := func(token string) {
		if token != "" && !seen[token] && len(k.tokens) < maxTokens {
			seen[token] = true
			k.tokens = append(k.tokens, token)
		}
	}
	lower, before := strings.ToLower(name), ' '
	for i, r := range lower {
		if unicode.Is(unicode.Han, r) || before == ' ' || before == '·' {
			add(strings.ReplaceAll(strings.TrimLeft(lower[i:], "· "), " ", ""))
		}
		before = r
	}
	for i := range parts {
		for _, s := range spellings(parts[i:]) {
			add(s.full)
			if len(s.initials) > 1 || i == 0 {
				add(s.initials)
			}
		}
	}
	return k
}

type spelling struct{ full, initials string }

// spellings are the ways to read the parts one after the other, the usual one first.
func spellings(parts [][]string) []spelling {
	all := []spelling{{}}
	for _, p := range parts {
		next := make([]spelling, 0, len(all)*len(p))
		for _, reading := range p {
			for _, s := range all {
				next = append(next, spelling{s.full + reading, s.initials + reading[:1]})
			}
		}
		all = next[:min(len(next), maxReadings)]
	}
	return all
}

// readings are, character by character, the ways to read a name. A run of Latin
// letters is one part; what has no reading is left out.
func readings(name string) [][]string {
	r := []rune(name)
	var parts [][]string
	start := 0
	if len(r) > 2 {
		if c, ok := compounds[string(r[:2])]; ok {
			parts = append(parts, with(c[:1], syllables(r[0])), with(c[1:], syllables(r[1])))
			start = 2
		}
	}
	for i := start; i < len(r); i++ {
		if unicode.Is(unicode.Han, r[i]) {
			read := syllables(r[i])
			if s, ok := surnames[string(r[i])]; ok && i == 0 {
				read = with(s, read)
			}
			if len(read) > 0 {
				parts = append(parts, read)
			}
			continue
		}
		from := i
		for i < len(r) && unicode.IsLetter(r[i]) && !unicode.Is(unicode.Han, r[i]) {
			i++
		}
		if word := ascii(string(r[from:i])); word != "" {
			parts = append(parts, []string{word})
		}
		if i > from {
			i--
		}
	}
	return parts
}

// with puts the surname's readings before the usual ones.
func with(first, others []string) []string {
	all := slices.Clone(first)
	for _, o := range others {
		if !slices.Contains(all, o) {
			all = append(all, o)
		}
	}
	return all
}

func ascii(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			return r
		}
		return -1
	}, strings.ToLower(s))
}

var syllableCache struct {
	sync.RWMutex
	m map[rune][]string // bounded by the characters there are
}

// syllables are the readings of one character without tones; ü is written v, and
// found as u and yu too.
func syllables(r rune) []string {
	syllableCache.RLock()
	all, ok := syllableCache.m[r]
	syllableCache.RUnlock()
	if ok {
		return all
	}
	args := pinyin.NewArgs()
	args.Heteronym = true
	for _, s := range pinyin.SinglePinyin(r, args) {
		if s = ascii(strings.ReplaceAll(s, "ü", "v")); s == "" || slices.Contains(all, s) {
			continue
		}
		all = append(all, s)
		if strings.HasSuffix(s, "v") {
			all = append(all, s[:len(s)-1]+"u")
		}
	}
	syllableCache.Lock()
	defer syllableCache.Unlock()
	if syllableCache.m == nil {
		syllableCache.m = map[rune][]string{}
	}
	syllableCache.m[r] = all
	return all
}
