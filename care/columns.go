package care

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"anling/geo"
)

// column is one column of an import file: its English name, the names it has in
// Chinese lists, and what a filled cell does to the record. An empty cell changes
// nothing.
type column[T any] struct {
	name  string
	zh    []string
	apply func(*T, string) error
}

func (c column[T]) known(header string) bool {
	return header == headerName(c.name) || slices.ContainsFunc(c.zh, func(s string) bool { return header == headerName(s) })
}

// setters maps the header of a file to what its cells do; unknown columns are nil
// and named.
func setters[T any](columns []column[T], t *table) (byIndex []*column[T], unknown []string, err error) {
	used := map[string]string{}
	for i, h := range t.Header {
		var found *column[T]
		for j := range columns {
			if columns[j].known(h) {
				found = &columns[j]
				break
			}
		}
		if found == nil {
			if h != "" && !rejectColumn(h) {
				unknown = append(unknown, strings.TrimSpace(t.names[i]))
			}
		} else if other, twice := used[found.name]; twice {
			return nil, nil, Invalid("file", "the columns %q and %q both mean %s", other, t.names[i], found.name)
		} else {
			used[found.name] = t.names[i]
		}
		byIndex = append(byIndex, found)
	}
	return byIndex, unknown, nil
}

// rejectColumn tells the columns that a file of rejects has of its own: such a file
// is corrected and imported again.
func rejectColumn(h string) bool { return h == "line" || h == "column" || h == "reason" }

func require[T any](byIndex []*column[T], columns []column[T], names ...string) error {
	for _, name := range names {
		if slices.ContainsFunc(byIndex, func(c *column[T]) bool { return c != nil && c.name == name }) {
			continue
		}
		for _, c := range columns {
			if c.name == name {
				return Invalid("file", "the header has no column %s (%s)", name, strings.Join(c.zh, ", "))
			}
		}
	}
	return nil
}

// text sets a plain cell.
func text[T any](field func(*T) *string) func(*T, string) error {
	return func(t *T, s string) error { *field(t) = s; return nil }
}

// word translates a cell by a table of Chinese words; a word of the records
// themselves is taken too.
func word[T any](field func(*T) *string, words map[string]string) func(*T, string) error {
	return func(t *T, s string) error {
		if w, ok := words[s]; ok {
			s = w
		} else {
			s = strings.ToLower(s)
		}
		*field(t) = s
		return nil
	}
}

func yes[T any](set func(*T, bool)) func(*T, string) error {
	return func(t *T, s string) error {
		switch strings.ToLower(s) {
		case "是", "有", "√", "y", "yes", "true", "1", "同意":
			set(t, true)
		case "否", "无", "×", "n", "no", "false", "0", "不同意":
			set(t, false)
		default:
			return Invalid("", "%q is not yes or no (是/否)", s)
		}
		return nil
	}
}

func list[T any](field func(*T) *[]string, words map[string]string) func(*T, string) error {
	return func(t *T, s string) error {
		var all []string
		for _, part := range split(s) {
			if w, ok := words[part]; ok {
				part = w
			}
			all = append(all, part)
		}
		*field(t) = all
		return nil
	}
}

// split parts a cell that holds several values.
func split(s string) []string {
	if !strings.ContainsAny(s, ";；、,，|\n") && strings.TrimSpace(s) != "" {
		return []string{s}
	}
	return slices.DeleteFunc(strings.FieldsFunc(s, func(r rune) bool { return strings.ContainsRune(";；、,，|\n", r) }),
		func(p string) bool { return strings.TrimSpace(p) == "" })
}

func decimal[T any](set func(*T, float64)) func(*T, string) error {
	return func(t *T, s string) error {
		v, err := strconv.ParseFloat(strings.TrimSpace(fold(s)), 64)
		if err != nil {
			return Invalid("", "%q is not a number", s)
		}
		set(t, v)
		return nil
	}
}

var dateMarks = strings.NewReplacer("年", "-", "月", "-", "日", "", "/", "-", ".", "-")

// parseDate reads the dates of lists: 1940-02-29, 1940/2/29, 1940.2, 19400229, 1940年2月29日, 1940.
func parseDate(s string) (string, error) {
	if _, err := time.Parse(time.DateOnly, s); err == nil {
		return s, nil
	}
	f := dateMarks.Replace(strings.Map(dropSpace, fold(s)))
	f = strings.TrimSuffix(f, "-")
	if digits(f) && len(f) == 8 {
		f = f[:4] + "-" + f[4:6] + "-" + f[6:]
	} else if digits(f) && len(f) == 6 {
		f = f[:4] + "-" + f[4:]
	}
	for _, l := range []struct{ in, out string }{{"2006-1-2", time.DateOnly}, {"2006-1", "2006-01"}, {"2006", "2006"}} {
		if t, err := time.Parse(l.in, f); err == nil {
			return t.Format(l.out), nil
		}
	}
	return "", Invalid("", "%q is not a date", s)
}

var (
	sexWords      = map[string]string{"男": "male", "女": "female", "m": "male", "f": "female", "M": "male", "F": "female", "1": "male", "2": "female"}
	statusWords   = map[string]string{"在册": "active", "正常": "active", "迁出": "moved", "入住机构": "institution", "去世": "deceased", "死亡": "deceased", "注销": "closed"}
	livingWords   = map[string]string{"独居": "alone", "与配偶居住": "spouse", "配偶": "spouse", "与子女居住": "children", "子女": "children", "与父母居住": "parents", "与兄弟姐妹居住": "siblings", "与其他亲属居住": "other_relatives", "与非亲属居住": "non_relatives", "养老机构": "institution", "机构": "institution"}
	abilityWords  = map[string]string{"完好": Intact, "能力完好": Intact, "轻度": Mild, "轻度失能": Mild, "中度": Moderate, "中度失能": Moderate, "重度": Severe, "重度失能": Severe, "完全失能": Complete, "完全": Complete}
	idTypeWords   = map[string]string{"身份证": "resident_id", "居民身份证": "resident_id", "护照": "passport", "港澳台居住证": "hk_macao_taiwan", "港澳台": "hk_macao_taiwan", "无": "none"}
	tagWords      = map[string]string{"特困": "destitute", "特困供养": "destitute", "低保": "dibao", "低保边缘": "dibao_margin", "中低收入": "low_income", "经济困难": "hardship", "重度残疾": "severe_disability", "残疾": "disabled", "独居": "alone", "空巢": "empty_nest", "留守": "left_behind", "高龄": "age_80", "百岁": "age_100", "失能": "incapable", "半失能": "part_incapable", "失智": "dementia", "计划生育特殊家庭": "special_family", "失独": "special_family", "重病": "serious_illness", "政府托底": "state_backed"}
	dialectWords  = map[string]string{"普通话": "putonghua", "云南话": "yunnan", "昆明话": "yunnan", "河南话": "henan", "四川话": "sichuan", "粤语": "cantonese", "彝语": "yi", "白语": "bai", "傣语": "dai", "哈尼语": "hani", "苗语": "miao", "傈僳语": "lisu", "壮语": "zhuang", "手语": "sign"}
	hearingWords  = map[string]string{"正常": "normal", "良好": "normal", "重听": "hard", "差": "hard", "聋": "deaf", "耳聋": "deaf"}
	mandarinWords = map[string]string{"好": "good", "会": "good", "一般": "some", "差": "some", "不会": "none", "无": "none"}
	speechWords   = map[string]string{"正常": "normal", "慢": "slow", "不能": "none", "无": "none"}
	relationWords = map[string]string{"配偶": "spouse", "丈夫": "spouse", "妻子": "spouse", "儿子": "child", "女儿": "child", "子女": "child", "儿媳": "child_in_law", "女婿": "child_in_law", "孙子": "grandchild", "孙女": "grandchild", "外孙": "grandchild", "兄弟姐妹": "sibling", "邻居": "neighbour", "楼栋长": "building_leader", "社区": "community", "护理员": "carer", "朋友": "friend", "监护人": "guardian", "其他": "other"}
	purposeWords  = map[string]string{"基本服务": "base_service", "健康数据": "health_data", "应急定位": "location_emergency", "日常定位": "location_daily", "通话录音": "call_recording", "家属查看": "family_view", "代叫120": "call_120_and_fee", "破门": "forced_entry", "钥匙": "key_safe", "共享120": "share_120"}
)

// maxContacts are the contacts that one row may bring.
const maxContacts = 5

// elderDraft is an elder while the cells of a row are applied.
type elderDraft struct {
	Elder
	contacts    [maxContacts]Contact
	keyHolders  []string
	phonesGiven bool
	datum       geo.Datum
	lat, lng    *float64
}

func e(field func(*Elder) *string) func(*elderDraft) *string {
	return func(d *elderDraft) *string { return field(&d.Elder) }
}

func es(field func(*Elder) *[]string) func(*elderDraft) *[]string {
	return func(d *elderDraft) *[]string { return field(&d.Elder) }
}

var elderColumns = buildElderColumns()

func buildElderColumns() []column[elderDraft] {
	t := text[elderDraft]
	all := []column[elderDraft]{
		{"external_key", []string{"编号", "外部编号", "档案号", "人员编号"}, t(e(func(x *Elder) *string { return &x.ExternalKey }))},
		{"name", []string{"姓名", "老人姓名"}, t(e(func(x *Elder) *string { return &x.Name }))},
		{"sex", []string{"性别"}, word(e(func(x *Elder) *string { return &x.Sex }), sexWords)},
		{"birth_date", []string{"出生日期", "出生年月", "生日"}, func(d *elderDraft, s string) (err error) { d.BirthDate, err = parseDate(s); return err }},
		{"id_number", []string{"身份证号", "身份证号码", "公民身份号码", "证件号码", "身份证"}, t(e(func(x *Elder) *string { return &x.IDNumber }))},
		{"id_type", []string{"证件类型"}, word(e(func(x *Elder) *string { return &x.IDType }), idTypeWords)},
		{"card_no", []string{"服务卡号", "卡号"}, t(e(func(x *Elder) *string { return &x.CardNo }))},
		{"status", []string{"状态"}, word(e(func(x *Elder) *string { return &x.Status }), statusWords)},
		{"area_code", []string{"区划代码", "社区代码", "行政区划代码"}, func(d *elderDraft, s string) error {
			d.AreaCode = AreaCode(strings.Map(dropSpace, fold(s)))
			return nil
		}},
		{"address", []string{"地址", "住址", "居住地址", "家庭住址"}, t(e(func(x *Elder) *string { return &x.Address }))},
		{"unit_floor_room", []string{"单元楼层房号", "门牌", "房号"}, t(e(func(x *Elder) *string { return &x.UnitFloorRoom }))},
		{"lift", []string{"电梯"}, yes(func(d *elderDraft, b bool) { d.Lift = &b })},
		{"entry_note", []string{"进门说明", "入户说明"}, t(e(func(x *Elder) *string { return &x.EntryNote }))},
		{"lat", []string{"纬度"}, decimal(func(d *elderDraft, v float64) { d.lat = &v })},
		{"lng", []string{"经度"}, decimal(func(d *elderDraft, v float64) { d.lng = &v })},
		{"datum", []string{"坐标系"}, func(d *elderDraft, s string) error {
			d.datum = geo.Datum(strings.ToLower(strings.ReplaceAll(s, "-", "")))
			return nil
		}},
		{"living_state", []string{"居住状况", "居住情况"}, word(e(func(x *Elder) *string { return &x.LivingState }), livingWords)},
		{"tags", []string{"标签", "人群标签", "人员类别"}, applyTags},
		{"ability", []string{"能力等级", "失能等级", "自理能力"}, word(e(func(x *Elder) *string { return &x.Ability }), abilityWords)},
		{"diagnoses", []string{"疾病", "疾病史", "病史"}, list(es(func(x *Elder) *[]string { return &x.Health.Diagnoses }), nil)},
		{"medication", []string{"用药", "用药情况"}, list(es(func(x *Elder) *[]string { return &x.Health.Medication }), nil)},
		{"allergies", []string{"过敏", "过敏史"}, list(es(func(x *Elder) *[]string { return &x.Health.Allergies }), nil)},
		{"blood_type", []string{"血型"}, t(e(func(x *Elder) *string { return &x.Health.BloodType }))},
		{"special_care", []string{"特殊护理"}, list(es(func(x *Elder) *[]string { return &x.Health.SpecialCare }), nil)},
		{"oxygen", []string{"吸氧"}, yes(func(d *elderDraft, b bool) { d.Health.Oxygen = b })},
		{"mobility_aid", []string{"助行器具", "辅具"}, t(e(func(x *Elder) *string { return &x.Health.MobilityAid }))},
		{"preferred_hospital", []string{"常去医院", "就诊医院"}, t(e(func(x *Elder) *string { return &x.Health.PreferredHospital }))},
		{"family_doctor", []string{"家庭医生"}, t(e(func(x *Elder) *string { return &x.Health.FamilyDoctor }))},
		{"dialects", []string{"语言", "方言"}, list(es(func(x *Elder) *[]string { return &x.Communication.Dialects }), dialectWords)},
		{"mandarin", []string{"普通话水平"}, word(e(func(x *Elder) *string { return &x.Communication.Mandarin }), mandarinWords)},
		{"hearing", []string{"听力"}, word(e(func(x *Elder) *string { return &x.Communication.Hearing }), hearingWords)},
		{"speech", []string{"言语"}, word(e(func(x *Elder) *string { return &x.Communication.Speech }), speechWords)},
		{"vision", []string{"视力"}, t(e(func(x *Elder) *string { return &x.Communication.Vision }))},
		{"key_safe", []string{"钥匙盒"}, t(e(func(x *Elder) *string { return &x.KeySafe }))},
		{"door_code", []string{"门禁密码"}, t(e(func(x *Elder) *string { return &x.DoorCode }))},
		{"forced_entry", []string{"同意破门"}, yes(func(d *elderDraft, b bool) { d.ForcedEntry = b })},
		{"risk_notes", []string{"风险提示", "注意事项"}, t(e(func(x *Elder) *string { return &x.RiskNotes }))},
		{"preferences", []string{"偏好"}, t(e(func(x *Elder) *string { return &x.Preferences }))},
		{"phone", []string{"电话", "联系电话", "固定电话", "本人电话"}, addPhones},
		{"mobile", []string{"手机", "手机号", "移动电话"}, addPhones},
		{"consents", []string{"同意事项", "授权"}, applyConsents},
		{"key_holders", []string{"钥匙保管人", "持钥匙人"}, func(d *elderDraft, s string) error { d.keyHolders = split(s); return nil }},
	}
	for i := range maxContacts {
		n, c := strconv.Itoa(i+1), func(d *elderDraft) *Contact { return &d.contacts[i] }
		all = append(all,
			column[elderDraft]{"contact" + n + "_name", []string{"联系人" + n, "联系人" + n + "姓名"}, func(d *elderDraft, s string) error { c(d).Name = s; return nil }},
			column[elderDraft]{"contact" + n + "_relation", []string{"联系人" + n + "关系"}, func(d *elderDraft, s string) error {
				if w, ok := relationWords[s]; ok {
					s = w
				}
				c(d).Relation = s
				return nil
			}},
			column[elderDraft]{"contact" + n + "_phone", []string{"联系人" + n + "电话"}, func(d *elderDraft, s string) error { c(d).Phones = split(s); return nil }},
			column[elderDraft]{"contact" + n + "_key_holder", []string{"联系人" + n + "持钥匙"}, yes(func(d *elderDraft, b bool) { c(d).KeyHolder = b })},
		)
	}
	return all
}

// addPhones gathers the numbers of the row's columns; together they replace those
// of the record.
func addPhones(d *elderDraft, s string) error {
	if !d.phonesGiven {
		d.phonesGiven, d.Phones = true, nil
	}
	d.Phones = append(d.Phones, split(s)...)
	return nil
}

// applyTags replaces the tags that an import gave; those of other sources stay.
func applyTags(d *elderDraft, s string) error {
	d.Tags = slices.DeleteFunc(slices.Clone(d.Tags), func(t Tag) bool { return t.Source == "import" })
	for _, code := range split(s) {
		code = strings.TrimSpace(code)
		if w, ok := tagWords[code]; ok {
			code = w
		}
		if !slices.ContainsFunc(d.Tags, func(t Tag) bool { return t.Code == code }) {
			d.Tags = append(d.Tags, Tag{Code: code, Source: "import"})
		}
	}
	return nil
}

func applyConsents(d *elderDraft, s string) error {
	purposes := split(s)
	d.Consents = slices.Grow(d.Consents, len(purposes))
	for _, p := range purposes {
		p = strings.TrimSpace(p)
		if w, ok := purposeWords[p]; ok {
			p = w
		}
		i := slices.IndexFunc(d.Consents, func(c Consent) bool { return c.Purpose == p })
		if i < 0 {
			d.Consents = append(d.Consents, Consent{Purpose: p, Given: true, Method: "paper"})
		}
	}
	return nil
}

var holderMarks = strings.NewReplacer("：", ":", " ", ":")

// finish puts together what several cells say: contacts, key holders, position.
func (d *elderDraft) finish() error {
	if (d.lat == nil) != (d.lng == nil) {
		return Invalid("lat", "latitude and longitude go together")
	}
	if d.lat != nil && (*d.lat != 0 || *d.lng != 0) {
		if *d.lat < -90 || *d.lat > 90 || *d.lng < -180 || *d.lng > 180 {
			return Invalid("lat", "%g, %g is no point on earth", *d.lat, *d.lng)
		}
		p := geo.Point{Lat: *d.lat, Lng: *d.lng}
		if d.datum != "" {
			var err error
			if p, err = geo.ToWGS84(p, d.datum); err != nil {
				return Invalid("datum", "%s", err.Error())
			}
		}
		d.Home = p
		if d.HomeSource == "" {
			d.HomeSource = "geocoded"
		}
	}
	given := make([]Contact, 0, len(d.contacts))
	for i, c := range d.contacts {
		if c.Name == "" {
			if len(c.Phones) > 0 {
				return Invalid("contact"+strconv.Itoa(i+1)+"_name", "is empty, but there is a telephone number")
			}
			continue
		}
		given = append(given, c)
	}
	for _, h := range d.keyHolders {
		name, phone, _ := strings.Cut(holderMarks.Replace(strings.TrimSpace(h)), ":")
		i := slices.IndexFunc(given, func(c Contact) bool { return c.Name == name })
		if i < 0 {
			given = append(given, Contact{Name: name, Relation: "other"})
			i = len(given) - 1
		}
		given[i].KeyHolder = true
		if phone != "" && !slices.Contains(given[i].Phones, phone) {
			given[i].Phones = append(given[i].Phones, phone)
		}
	}
	d.mergeContacts(given)
	return nil
}

// mergeContacts lets the row's contacts lead, in its order; one of the same name
// keeps its id and what the row does not say, and those it does not name stay behind.
func (d *elderDraft) mergeContacts(given []Contact) {
	if len(given) == 0 {
		return
	}
	old := d.Contacts
	for i := range given {
		given[i].Name = strings.TrimSpace(given[i].Name)
		if j := slices.IndexFunc(old, func(c Contact) bool { return c.Name == given[i].Name }); j >= 0 {
			was := old[j]
			given[i].ID, given[i].AgreedAt, given[i].DistanceMin = was.ID, was.AgreedAt, was.DistanceMin
			given[i].KeyHolder = given[i].KeyHolder || was.KeyHolder
			if given[i].Relation == "" {
				given[i].Relation = was.Relation
			}
			if len(given[i].Phones) == 0 {
				given[i].Phones = was.Phones
			}
		}
	}
	for _, c := range old {
		if !slices.ContainsFunc(given, func(g Contact) bool { return g.Name == c.Name }) {
			given = append(given, c)
		}
	}
	for i := range given {
		given[i].Rank = i + 1
	}
	d.Contacts = given
}
