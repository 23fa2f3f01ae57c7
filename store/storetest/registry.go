package storetest

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/text/encoding/simplifiedchinese"

	"anling/care"
	"anling/care/district"
	"anling/event"
	"anling/geo"
	"anling/store"
)

// idKey is a key for tests.
var idKey = []byte("0123456789abcdef0123456789abcdef")

// NewRegistry is a registry over a store, in demo mode, in Kunming.
func NewRegistry(s *store.Store) *care.Registry {
	return care.NewRegistry(care.RegistryOptions{Store: store.NewRegistry(s), IDKey: idKey, PhoneAreaCode: "0871", Demo: true})
}

func wang() care.Elder {
	return care.Elder{Name: "王秀英", IDNumber: "990001194002290018", AreaCode: "990100001001", Address: "安宁路 3 号", UnitFloorRoom: "2-501",
		Home: geo.Point{Lat: 25.04, Lng: 102.72}, KeySafe: "门旁 1234", Phones: []string{"63824111", "138 0013 8000"},
		Contacts: []care.Contact{{Name: "王小明", Relation: "child", Phones: []string{"13900139000"}, KeyHolder: true}},
		Consents: []care.Consent{{Purpose: "base_service", Given: true}}, Communication: care.Communication{Dialects: []string{"yunnan"}, DuressWord: "晴天"}}
}

// Registry is the suite of care.Store.
func Registry(t *testing.T, s *store.Store) {
	r := NewRegistry(s)
	save := func(t *testing.T, e care.Elder) care.Elder {
		t.Helper()
		saved, err := r.SaveElder(t.Context(), e, "user:u1")
		if err != nil {
			t.Fatal(err)
		}
		return saved
	}
	first := save(t, wang())

	t.Run("what is no text is refused", func(t *testing.T) {
		for field, spoil := range map[string]func(*care.Elder){
			"door_code":  func(e *care.Elder) { e.DoorCode = "12\x1f34" }, // it would part the sealed secrets anew
			"key_safe":   func(e *care.Elder) { e.KeySafe = strings.Repeat("1", 201) },
			"risk_notes": func(e *care.Elder) { e.RiskNotes = strings.Repeat("狗", 2001) },
		} {
			e := care.Elder{Name: "张三丰", AreaCode: "990100001001", BirthDate: "1941"}
			spoil(&e)
			_, err := r.SaveElder(t.Context(), e, "user:u1")
			if bad, ok := err.(*care.Error); !ok || bad.Field != field {
				t.Errorf("%s: %v", field, err)
			}
		}
	})

	t.Run("a saved elder is read back whole", func(t *testing.T) {
		e, err := r.Elder(t.Context(), first.ID)
		if err != nil {
			t.Fatal(err)
		}
		if e.IDNumber != "990001194002290018" || e.BirthDate != "1940-02-29" || e.Sex != "male" || e.Pinyin != "wangxiuying" || e.Initials != "wxy" ||
			e.KeySafe != "门旁 1234" || e.Communication.DuressWord != "晴天" || e.Version != 1 || e.Status != "active" || e.CreatedAt.IsZero() {
			t.Errorf("read back %+v", e)
		}
		if !slices.Equal(e.Phones, []string{"+8687163824111", "+8613800138000"}) || len(e.Contacts) != 1 || e.Contacts[0].ID == "" || e.Contacts[0].Rank != 1 || len(e.Consents) != 1 {
			t.Errorf("phones %v contacts %+v", e.Phones, e.Contacts)
		}
		events, err := s.Read().AggregateEvents(t.Context(), string(first.ID), 0, 10)
		if err != nil || len(events) != 1 || events[0].Type != string(care.ElderSaved) {
			t.Errorf("events %v, %v", events, err)
		}
	})

	t.Run("one ID number is one record", func(t *testing.T) {
		if _, err := r.SaveElder(t.Context(), wang(), "user:u1"); !errors.Is(err, care.ErrInvalid) {
			t.Errorf("a second record of the same ID number gives %v", err)
		}
	})

	t.Run("an edit moves the keys along", func(t *testing.T) {
		e := save(t, care.Elder{Name: "单田芳", Phones: []string{"13811112222"}, AreaCode: "990100001001", BirthDate: "1941"})
		stale := e
		e.Name, e.Phones = "曾国藩", []string{"13811113333"}
		e = save(t, e)
		if _, err := r.SaveElder(t.Context(), stale, "user:u2"); !errors.Is(err, care.ErrTaken) {
			t.Errorf("a save over another's gives %v", err)
		}
		for q, want := range map[string]int{"单田芳": 0, "shantianfang": 0, "13811112222": 0, "zengguofan": 1, "cgf": 1, "3333": 1} {
			if got := search(t, r, q); len(got) != want || want == 1 && got[0].ID != e.ID {
				t.Errorf("search %q finds %v, want %d", q, got, want)
			}
		}
	})

	t.Run("searches find", func(t *testing.T) {
		d, err := r.SaveDevice(t.Context(), care.Device{Kind: "pendant", Protocol: "gt06", ExternalID: "868120145233604", SIMNumber: "1064812345678", ElderID: first.ID}, "user:u1")
		if err != nil {
			t.Fatal(err)
		}
		for q, why := range map[string]string{"王秀英": "name", "秀英": "name", "wangxiu": "name", "xiuying": "name", "wxy": "name", "Wang Xiu Ying": "name",
			"13800138000": "phone", "0871-63824111": "phone", "8000": "phone", "139 0013 9000": "contact", "9000": "contact",
			"868120145233604": "device", "868120": "device", "3604": "device", "1064812345678": "device", "990001194002290018": "id_number"} {
			hits := search(t, r, q)
			i := slices.IndexFunc(hits, func(h care.ElderHit) bool { return h.ID == first.ID })
			if i < 0 || hits[i].Matched != why || hits[i].Name != "王秀英" {
				t.Errorf("search %q finds %+v, want %s by %s", q, hits, first.ID, why)
			}
			if why == "device" && i >= 0 && hits[i].DeviceID != d.ID {
				t.Errorf("search %q names device %s", q, hits[i].DeviceID)
			}
		}
		if hits := search(t, r, "张"); len(hits) != 0 {
			t.Errorf("张 finds %v", hits)
		}
		if _, err := r.Search(t.Context(), "  ", 10); !errors.Is(err, care.ErrInvalid) {
			t.Errorf("an empty search gives %v", err)
		}
		if e, err := r.Elder(t.Context(), first.ID); err != nil || !slices.Equal(e.Devices, []care.DeviceID{d.ID}) {
			t.Errorf("devices of the elder %v, %v", e.Devices, err)
		}
		numbers, err := r.NumbersOf(t.Context(), first.ID, d.ID)
		if err != nil || !slices.Equal(numbers, []string{"+861064812345678", "+8687163824111", "+8613800138000"}) {
			t.Errorf("numbers to be rung %v, %v", numbers, err)
		}
		matches, err := r.MatchPhone(t.Context(), "+861064812345678")
		if err != nil || len(matches) != 1 || matches[0].Kind != "device" || matches[0].DeviceID != d.ID || matches[0].ElderID != first.ID {
			t.Errorf("the device's number matches %+v, %v", matches, err)
		}
	})

	t.Run("a couple shares a telephone", func(t *testing.T) {
		he := save(t, care.Elder{Name: "李建国", Phones: []string{"65550101"}, BirthDate: "1944-05-06", AreaCode: "990100001001"})
		she := save(t, care.Elder{Name: "赵桂兰", Phones: []string{"65550101"}, BirthDate: "1946-05-06", AreaCode: "990100001001",
			Contacts: []care.Contact{{Name: "李建国", Relation: "spouse", Phones: []string{"65550101"}}}})
		matches, err := r.MatchPhone(t.Context(), "+8687165550101")
		if err != nil || len(matches) != 3 || matches[0].Kind != "elder" || matches[1].Kind != "elder" || matches[2].Kind != "contact" || matches[2].Relation != "spouse" {
			t.Fatalf("matches %+v, %v", matches, err)
		}
		if hits := search(t, r, "65550101"); len(hits) != 2 || !slices.ContainsFunc(hits, func(h care.ElderHit) bool { return h.ID == he.ID }) ||
			!slices.ContainsFunc(hits, func(h care.ElderHit) bool { return h.ID == she.ID }) {
			t.Errorf("search finds %+v", hits)
		}
	})

	t.Run("devices", func(t *testing.T) { registryDevices(t, r, first.ID) })
	t.Run("responders", func(t *testing.T) { registryResponders(t, s, r) })
	t.Run("areas", func(t *testing.T) {
		areas := []care.Area{{Code: "990100", Level: "county", Name: "安铃区"}, {Code: "990100001", Level: "street", Name: "一街", Parent: "990100"}}
		if err := r.SaveAreas(t.Context(), areas); err != nil {
			t.Fatal(err)
		}
		areas[1].Name = "第一街道"
		if err := r.SaveAreas(t.Context(), areas[1:]); err != nil {
			t.Fatal(err)
		}
		all, err := r.Areas(t.Context())
		if err != nil || len(all) != 2 || all[1].Name != "第一街道" {
			t.Errorf("areas %+v, %v", all, err)
		}
	})
	t.Run("another key is refused", func(t *testing.T) {
		if err := r.CheckKey(t.Context()); err != nil {
			t.Fatal(err)
		}
		other := care.NewRegistry(care.RegistryOptions{Store: store.NewRegistry(s), IDKey: []byte("another key of thirty-two bytes..")[:32]})
		if err := other.CheckKey(t.Context()); err == nil {
			t.Error("a registry opens with another key")
		}
		if _, err := other.Elder(t.Context(), first.ID); err == nil {
			t.Error("secrets are read with another key")
		}
	})
}

func search(t *testing.T, r *care.Registry, q string) []care.ElderHit {
	t.Helper()
	hits, err := r.Search(t.Context(), q, 10)
	if err != nil {
		t.Fatalf("search %q: %v", q, err)
	}
	return hits
}

func registryDevices(t *testing.T, r *care.Registry, elder care.ElderID) {
	d, err := r.SaveDevice(t.Context(), care.Device{Kind: "watch", Protocol: "watch", ExternalID: "9200000001", ElderID: elder, Class: "watch"}, "user:u1")
	if err != nil {
		t.Fatal(err)
	}
	for _, typo := range []care.Device{{Protocol: "gt6", ExternalID: "868120145233604"}, {ExternalID: "868120145233604"}, {Protocol: "gt06", ExternalID: "86812014523360"}} {
		if _, err := r.SaveDevice(t.Context(), typo, "user:u1"); !errors.Is(err, care.ErrInvalid) {
			t.Errorf("%s %s: %v", typo.Protocol, typo.ExternalID, err)
		}
	}
	if _, err := r.SaveDevice(t.Context(), care.Device{Protocol: "watch", ExternalID: "9200000001"}, "user:u1"); !errors.Is(err, care.ErrInvalid) {
		t.Errorf("the same identity twice gives %v", err)
	}
	if _, err := r.SaveDevice(t.Context(), care.Device{Protocol: "watch", ExternalID: "9200000002", ElderID: "nobody"}, "user:u1"); !errors.Is(err, care.ErrNotFound) {
		t.Errorf("a device of nobody gives %v", err)
	}
	now := time.UnixMicro(1_800_000_000_000_000).UTC()
	battery, low := 80, 12
	fix := care.Fix{Point: geo.Point{Lat: 25, Lng: 102}, Source: care.FixGNSS, At: now}
	levels, gone, back := []care.Kind{care.KindBattery}, now.Add(time.Hour), time.Time{}
	touch := func(signs ...care.DeviceSign) care.Device {
		t.Helper()
		if err := r.TouchDevices(t.Context(), signs); err != nil {
			t.Fatal(err)
		}
		got, err := r.DeviceByExternal(t.Context(), "watch", "9200000001")
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	got := touch(care.DeviceSign{DeviceID: d.ID, At: now, Battery: &battery, Fix: &fix}, care.DeviceSign{DeviceID: d.ID, At: now.Add(-time.Minute), Levels: &levels})
	if !got.LastSeen.Equal(now) || *got.Battery != 80 || got.LastFix == nil || *got.LastFix != fix || !slices.Equal(got.Levels, levels) || got.Version != 1 {
		t.Errorf("after two signs %+v", got)
	}
	got = touch(care.DeviceSign{DeviceID: d.ID, At: now.Add(-time.Hour), Battery: &low}, care.DeviceSign{DeviceID: d.ID, Offline: &gone})
	if !got.LastSeen.Equal(now) || *got.Battery != 12 || !got.OfflineSince.Equal(gone) || got.LastFix == nil || len(got.Levels) != 1 {
		t.Errorf("after an older sign %+v", got)
	}
	if all, err := r.Devices(t.Context(), care.DeviceFilter{Offline: true}); err != nil || len(all) != 1 || all[0].ID != d.ID {
		t.Errorf("offline devices %v, %v", all, err)
	}
	none := []care.Kind{}
	got = touch(care.DeviceSign{DeviceID: d.ID, Offline: &back, Levels: &none})
	if !got.OfflineSince.IsZero() || len(got.Levels) != 0 {
		t.Errorf("back on line %+v", got)
	}
	d.Model = "W2"
	if d, err = r.SaveDevice(t.Context(), d, "user:u1"); err != nil || d.Version != 2 || d.LastFix == nil {
		t.Errorf("an edit keeps the signs of life: %+v, %v", d, err)
	}
	if all, err := r.Devices(t.Context(), care.DeviceFilter{Protocol: "watch", SeenBefore: now}); err != nil || len(all) != 0 {
		t.Errorf("devices not seen for long %v, %v", all, err)
	}
	if all, err := r.Devices(t.Context(), care.DeviceFilter{Protocol: "watch", SeenBefore: now.Add(time.Microsecond)}); err != nil || len(all) != 1 {
		t.Errorf("devices not seen lately %v, %v", all, err)
	}
}

func registryResponders(t *testing.T, s *store.Store, r *care.Registry) {
	p, err := r.SaveProvider(t.Context(), care.Provider{Name: "安心护理", USCC: "91350100M000100Y43", Class: "care_firm"}, "user:u1")
	if err != nil {
		t.Fatal(err)
	}
	a, err := r.SaveResponder(t.Context(), care.Responder{Name: "周医生", Kind: "doctor", ProviderID: p.ID, UserID: "user-1", Phones: []string{"13700137000"}, ExternalKey: "R1"}, "user:u1")
	if err != nil {
		t.Fatal(err)
	}
	if a.Duty != "off" {
		t.Errorf("a new responder is %s", a.Duty)
	}
	var heard []care.Change
	r.OnChange(func(c care.Change) { heard = append(heard, c) })
	for range 2 {
		if err := r.SetDuty(t.Context(), a.ID, "on", "responder:"+string(a.ID)); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.SetDuty(t.Context(), a.ID, "asleep", "x"); !errors.Is(err, care.ErrInvalid) {
		t.Errorf("an unknown duty gives %v", err)
	}
	got, err := r.ResponderByUser(t.Context(), "user-1")
	if err != nil || got.ID != a.ID || got.Duty != "on" || got.Version != 2 {
		t.Errorf("responder of the account %+v, %v", got, err)
	}
	if len(heard) == 0 || heard[0] != (care.Change{Kind: "responder", ID: string(a.ID)}) {
		t.Errorf("heard %v", heard)
	}
	events, err := s.Read().AggregateEvents(t.Context(), string(a.ID), 0, 10)
	if err != nil || len(events) != 2 || events[1].Type != string(care.ResponderDuty) || events[1].ProviderID != string(p.ID) {
		t.Errorf("events %+v, %v", events, err)
	}
	matches, err := r.MatchPhone(t.Context(), "+8613700137000")
	if err != nil || len(matches) != 1 || matches[0].Kind != "responder" || matches[0].Name != "周医生" {
		t.Errorf("the responder's number matches %+v, %v", matches, err)
	}
	got.Phones = []string{"13700137001"}
	if _, err := r.SaveResponder(t.Context(), got, "user:u1"); err != nil {
		t.Fatal(err)
	}
	if matches, err = r.MatchPhone(t.Context(), "+8613700137000"); err != nil || len(matches) != 0 {
		t.Errorf("a former number matches %+v, %v", matches, err)
	}
	if _, err := r.ResponderByUser(t.Context(), ""); !errors.Is(err, care.ErrNotFound) {
		t.Errorf("the responder of no account: %v", err)
	}
}

// RegistryConcurrent: many operators enter the same person at once; one record stands.
func RegistryConcurrent(t *testing.T, s *store.Store) {
	r := NewRegistry(s)
	var wg sync.WaitGroup
	var mu sync.Mutex
	saved := 0
	for range 8 {
		wg.Go(func() {
			_, err := r.SaveElder(t.Context(), wang(), "user:u1")
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				saved++
			case !errors.Is(err, care.ErrInvalid) && !errors.Is(err, event.ErrConflict):
				t.Error(err)
			}
		})
	}
	wg.Wait()
	n, err := store.NewRegistry(s).CountElders(t.Context())
	if err != nil || n != 1 || saved != 1 {
		t.Errorf("%d records, %d saves, %v", n, saved, err)
	}
}

// list imports a CSV text and returns the report and the file of rejects.
func list(t *testing.T, r *care.Registry, kind, text string) (care.Report, string) {
	t.Helper()
	var rejects strings.Builder
	report, err := r.Import(t.Context(), kind, strings.NewReader(text), care.ImportOptions{Rejects: &rejects})
	if err != nil {
		t.Fatalf("import: %v", err)
	}
	return report, rejects.String()
}

func counts(t *testing.T, what string, r care.Report, added, changed, unchanged, rejected int) {
	t.Helper()
	if r.Added != added || r.Changed != changed || r.Unchanged != unchanged || r.Rejected != rejected || r.Rows != added+changed+unchanged+rejected {
		t.Errorf("%s: %d rows, %d added, %d changed, %d unchanged, %d rejected %v; want %d, %d, %d, %d", what, r.Rows, r.Added, r.Changed, r.Unchanged, r.Rejected, r.Problems,
			added, changed, unchanged, rejected)
	}
}

const elderList = `编号,姓名,性别,出生日期,身份证号,区划代码,地址,电话,标签,联系人1,联系人1关系,联系人1电话,钥匙保管人
A1,王秀英,女,,990001195008150029,990100001001,"安宁路 3 号
后院",63824111,独居；低保,王小明,儿子,13900139000,王小明;赵邻居:13900139001
A2,𠮷田·阿里,男,,99000119300301001X,990100001001,路,,,,,,
,李强,男,1938/11/1,,990100001001,路,13800138000,,,,,
A4,赵丽,女,,110105194912310021,990100001001,路,,,,,,
A1,王二,女,,,990100001001,路,,,,,,
A6,孙七,女,1940年,,990100001001,路,12345678901234,,,,,
A7,周八,女,1940,,990100001001,路
,吴九,女,,,990100001001,路,,,,,,
`

// RegistryImport is the suite of the imports.
func RegistryImport(t *testing.T, s *store.Store) {
	r := NewRegistry(s)
	report, rejects := list(t, r, care.ImportElders, elderList)
	counts(t, "the first time", report, 3, 0, 0, 5)
	for i, want := range []struct {
		line           int
		column, reason string
	}{{6, "身份证号", "check character"}, {7, "编号", "as in line 2"}, {8, "电话", "not a telephone number"}, {9, "", "has 7 columns"}, {10, "", "needs an ID number"}} {
		if i < len(report.Problems) {
			if p := report.Problems[i]; p.Line != want.line || p.Column != want.column || !strings.Contains(p.Reason, want.reason) {
				t.Errorf("problem %d is %v, want %v", i, p, want)
			}
		}
	}
	if !strings.HasPrefix(rejects, "\uFEFF编号,姓名") || strings.Count(rejects, "\n") != 6 || !strings.Contains(rejects, "A4,赵丽,女,,110105194912310021,990100001001,路,,,,,,,6,身份证号,") {
		t.Errorf("the file of rejects is\n%s", rejects)
	}
	wang := search(t, r, "王秀英")
	if len(wang) != 1 {
		t.Fatalf("王秀英 finds %v", wang)
	}
	e, err := r.Elder(t.Context(), wang[0].ID)
	if err != nil || e.Address != "安宁路 3 号\n后院" || e.BirthDate != "1950-08-15" || len(e.Tags) != 2 || len(e.Contacts) != 2 || !e.Contacts[0].KeyHolder ||
		e.Contacts[1].Name != "赵邻居" || e.Contacts[1].Phones[0] != "+8613900139001" || e.IDNumber != "990001195008150029" {
		t.Errorf("the imported elder is %+v, %v", e, err)
	}

	t.Run("again, nothing changes", func(t *testing.T) {
		report, _ := list(t, r, care.ImportElders, elderList)
		counts(t, "again", report, 0, 0, 3, 5)
	})
	t.Run("the corrected rejects are imported", func(t *testing.T) {
		fixed := strings.Replace(rejects, "110105194912310021", "11010519491231002X", 1)
		report, again := list(t, r, care.ImportElders, fixed)
		if report.Added != 2 || report.Rejected != 3 || len(report.Ignored) != 0 || !strings.Contains(report.Problems[0].Reason, "another name") {
			t.Errorf("the corrected file gives %+v", report)
		}
		if head, _, _ := strings.Cut(again, "\n"); strings.Count(head, "reason") != 1 {
			t.Errorf("its rejects begin with %s", head)
		}
	})
	t.Run("GB18030, with a character beyond the BMP", func(t *testing.T) {
		text, err := simplifiedchinese.GB18030.NewEncoder().String(elderList)
		if err != nil {
			t.Fatal(err)
		}
		report, _ := list(t, r, care.ImportElders, text)
		counts(t, "GB18030", report, 0, 0, 3, 5)
		if report.Encoding != care.EncodingGB18030 {
			t.Errorf("read as %s", report.Encoding)
		}
		if hits := search(t, r, "𠮷田"); len(hits) != 1 {
			t.Errorf("𠮷田 finds %v", hits)
		}
	})
	t.Run("a changed row changes what it says, and an edit by hand stays", func(t *testing.T) {
		e.EntryNote = "院内有狗"
		if _, err := r.SaveElder(t.Context(), e, "user:u1"); err != nil {
			t.Fatal(err)
		}
		report, _ := list(t, r, care.ImportElders, elderList)
		counts(t, "after an edit", report, 0, 0, 3, 5)
		report, _ = list(t, r, care.ImportElders, "编号,姓名,电话,联系人1,联系人1电话\nA1,王秀英,63824222,王小红,13900139002\n")
		counts(t, "a changed row", report, 0, 1, 0, 0)
		got, err := r.Elder(t.Context(), e.ID)
		if err != nil || got.EntryNote != "院内有狗" || !slices.Equal(got.Phones, []string{"+8687163824222"}) || len(got.Contacts) != 3 || got.Contacts[0].Name != "王小红" ||
			got.Contacts[1].ID != e.Contacts[0].ID || got.IDNumber != e.IDNumber || len(got.Tags) != 2 {
			t.Errorf("after the change %+v, %v", got, err)
		}
		if hits := search(t, r, "63824111"); len(hits) != 0 {
			t.Errorf("the former number finds %v", hits)
		}
	})
	t.Run("the same person from another list", func(t *testing.T) {
		report, _ := list(t, r, care.ImportElders, "姓名,身份证号,能力等级\n王秀英,990001195008150029,轻度\n")
		counts(t, "by ID number", report, 0, 1, 0, 0)
		report, _ = list(t, r, care.ImportElders, "姓名,出生日期,区划代码,身份证号\n李强,1938-11-01,990100001001,990001193811010034\n")
		counts(t, "by name, birth and area; now with an ID number", report, 0, 1, 0, 0)
		if hits := search(t, r, "990001193811010034"); len(hits) != 1 || hits[0].Name != "李强" || len(search(t, r, "李强")) != 1 {
			t.Errorf("李强 is %v", hits)
		}
		report, _ = list(t, r, care.ImportElders, "编号,姓名,身份证号\nA2,王秀英,990001195008150029\n")
		counts(t, "the key of one and the ID number of another", report, 0, 0, 0, 1)
	})
	t.Run("files that are none", func(t *testing.T) {
		for name, c := range map[string]struct{ text, want string }{
			"empty": {"", "is empty"}, "no name": {"编号,性别\n1,男\n", "no column name"}, "a workbook": {"PK\x03\x04....", "workbook"}, "UTF-16": {"\xff\xfea\x00", "UTF-16"},
			"twice": {"姓名,name\n", "both mean name"}, "a quote that is never closed": {"姓名,地址\n王一,\"" + strings.Repeat("长", 400_000), "longer than"},
		} {
			if report, err := r.Import(t.Context(), care.ImportElders, strings.NewReader(c.text), care.ImportOptions{}); !errors.Is(err, care.ErrInvalid) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s: %+v, %v", name, report, err)
			}
		}
		report, _ := list(t, r, care.ImportElders, "姓名\n")
		counts(t, "a header alone", report, 0, 0, 0, 0)
		if _, err := r.Import(t.Context(), "cats", strings.NewReader("a"), care.ImportOptions{}); !errors.Is(err, care.ErrInvalid) {
			t.Errorf("an unknown kind gives %v", err)
		}
	})
	t.Run("devices, providers, responders", func(t *testing.T) { importRecords(t, r) })
}

func importRecords(t *testing.T, r *care.Registry) {
	devices := "protocol,external_id,sim_number,kind,elder_key,elder_id_number\ngt06,868120145233604,1064812345678,pendant,A1,\nwatch,9200000001,,手表,,99000119300301001X\n" +
		"gt06,1,,,A99,\ngt06,868120145233604,,,,\ngt06,,,,,\n"
	report, _ := list(t, r, care.ImportDevices, devices)
	counts(t, "devices", report, 2, 0, 0, 3)
	report, _ = list(t, r, care.ImportDevices, devices)
	counts(t, "devices again", report, 0, 0, 2, 3)
	d, err := r.DeviceByExternal(t.Context(), "watch", "9200000001")
	if err != nil || d.Kind != "watch" || d.ElderID == "" {
		t.Errorf("the watch is %+v, %v", d, err)
	}
	providers := "编号,名称,统一社会信用代码,类别\nP1,安心护理,91350100M000100Y43,护理\nP2,坏的,91350100M000100Y44,护理\n"
	report, _ = list(t, r, care.ImportProviders, providers)
	counts(t, "providers", report, 1, 0, 0, 1)
	responders := "编号,姓名,类别,服务商编号,电话,技能,证书,在岗,纬度,经度\nR1,周救助,救助,P1,13700137000,急救;搬抬,急救员证:123:2027-6-30,在岗,25.04,102.72\nR2,吴无,救助,P9,13700137001,,,,,\n"
	report, _ = list(t, r, care.ImportResponders, responders)
	counts(t, "responders", report, 1, 0, 0, 1)
	all, err := r.Responders(t.Context())
	if err != nil || len(all) != 1 || !slices.Equal(all[0].Skills, []string{"first_aid", "lift_two"}) || all[0].Certificates[0].Until != "2027-06-30" || all[0].Duty != "on" || all[0].ProviderID == "" {
		t.Fatalf("responders %+v, %v", all, err)
	}
	if err := r.SetDuty(t.Context(), all[0].ID, "off", "x"); err != nil {
		t.Fatal(err)
	}
	report, _ = list(t, r, care.ImportResponders, responders)
	counts(t, "responders again: who went off duty stays off", report, 0, 0, 1, 1)
}

// RegistryCutOff: an import that ends between the keys and the records is finished
// by the next one, and nobody is there twice.
func RegistryCutOff(t *testing.T, s *store.Store) {
	r := NewRegistry(s)
	d := district.New(district.Options{Seed: 3, Elders: 700})
	var text strings.Builder
	if err := d.WriteElders(&text); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	keep := &cutOff{Registry: store.NewRegistry(s), cut: cancel}
	first := care.NewRegistry(care.RegistryOptions{Store: keep, IDKey: idKey, PhoneAreaCode: "0871", Demo: true})
	if _, err := first.Import(ctx, care.ImportElders, strings.NewReader(text.String()), care.ImportOptions{}); err == nil {
		t.Fatal("the import was not cut off")
	}
	n, err := store.NewRegistry(s).CountElders(t.Context())
	if err != nil || n != 0 {
		t.Fatalf("%d elders after the cut, %v", n, err)
	}
	if hits := search(t, r, "E0000001"); len(hits) != 0 {
		t.Errorf("a key without its record finds %v", hits)
	}
	report, _ := list(t, r, care.ImportElders, text.String())
	counts(t, "the next import", report, 700, 0, 0, 0)
	report, _ = list(t, r, care.ImportElders, text.String())
	counts(t, "once more", report, 0, 0, 700, 0)
	for _, i := range []int{0, 1, 599, 699} {
		want := d.Elder(i)
		if hits := search(t, r, want.IDNumber); len(hits) != 1 || hits[0].Name != want.Name {
			t.Errorf("elder %d is found as %v", i, hits)
		}
	}
}

// cutOff writes the keys of a load and then ends it.
type cutOff struct {
	*store.Registry
	cut func()
}

// LoadElders stands for a crash: the records of the rows never come, their keys did.
func (c *cutOff) LoadElders(ctx context.Context, _ []*care.NewElder, _ *event.Event) ([]care.ElderID, error) {
	c.cut()
	return nil, ctx.Err()
}

// RegistryTwoImports: two servers import the same list at once; nobody is there twice.
func RegistryTwoImports(t *testing.T, s *store.Store) {
	d := district.New(district.Options{Seed: 4, Elders: 700})
	var text strings.Builder
	if err := d.WriteElders(&text); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	var added, refused atomic.Int64
	for range 2 {
		r := NewRegistry(s) // of its own, as another process has
		wg.Go(func() {
			report, err := r.Import(t.Context(), care.ImportElders, strings.NewReader(text.String()), care.ImportOptions{})
			if err != nil {
				t.Error(err)
			}
			added.Add(int64(report.Added))
			refused.Add(int64(report.Rejected))
		})
	}
	wg.Wait()
	n, err := store.NewRegistry(s).CountElders(t.Context())
	if err != nil || n != 700 || added.Load() != 700 {
		t.Errorf("%d elders, %d added, %d refused, %v", n, added.Load(), refused.Load(), err)
	}
	report, _ := list(t, NewRegistry(s), care.ImportElders, text.String())
	counts(t, "afterwards", report, 0, 0, 700, 0)
}

// RegistryDistrict: the demo district goes in whole, and again changes nothing.
func RegistryDistrict(t *testing.T, s *store.Store) {
	r := NewRegistry(s)
	d := district.New(district.Options{Seed: 1, Elders: 300, Responders: 40})
	for range 2 {
		if err := d.Fill(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	n, err := store.NewRegistry(s).CountElders(t.Context())
	if err != nil || n != 300 {
		t.Errorf("%d elders, %v", n, err)
	}
	responders, err := r.Responders(t.Context())
	if err != nil || len(responders) != 40 {
		t.Errorf("%d responders, %v", len(responders), err)
	}
	areas, err := r.Areas(t.Context())
	if err != nil || len(areas) != 1+8+48 {
		t.Errorf("%d areas, %v", len(areas), err)
	}
	for v := range d.Devices() {
		got, err := r.DeviceByExternal(t.Context(), v.Protocol, v.ExternalID)
		if err != nil || got.ElderID == "" {
			t.Fatalf("device %s: %+v, %v", v.ExternalID, got, err)
		}
	}
}
