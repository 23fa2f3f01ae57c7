package storetest

import (
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"anling/care"
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
