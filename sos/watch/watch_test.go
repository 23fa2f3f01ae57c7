package watch

import (
	"bytes"
	"errors"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"anling/care"
	"anling/geo"
	"anling/sos/sostest"
)

const id = "8800000015"

var pressed = time.Date(2026, 11, 22, 8, 5, 0, 0, time.UTC)

func press(status uint32) Report {
	return Report{Time: pressed, Point: geo.Point{Lat: 25.0389, Lng: 102.7183}, Fix: true, AltitudeM: 1890, Satellites: 9, Signal: 80, Battery: 12, Steps: 100,
		Status: status, Cell: Cell{MCC: "460", MNC: "0", LAC: "1234", CID: "5678", RSSI: 100}, AccuracyM: 10}
}

func TestVectors(t *testing.T) {
	rows := sostest.Vectors(t, "watch.tsv")
	if len(rows) < 25 {
		t.Fatalf("%d rows", len(rows))
	}
	kinds := map[string]care.Kind{"sos": care.KindSOS, "fall_down": care.KindFall, "removing": care.KindRemoved}
	for _, row := range rows {
		var framer Framer
		n, frame, err := framer.Split([]byte(row["frame"]), false)
		if err != nil || n != len(row["frame"]) || len(frame) != n {
			t.Errorf("%.40s: framed %d of %d, %v", row["frame"], n, len(row["frame"]), err)
			continue
		}
		m, err := Decode(frame)
		if err != nil || m.Keyword != row["keyword"] || m.LenOK != (row["checksum"] == "ok") {
			t.Errorf("%.40s: keyword %q, len %v, %v", row["frame"], m.Keyword, m.LenOK, err)
		}
		if want, ok := kinds[row["expected_alarm"]]; ok && !m.Has(want) {
			t.Errorf("%.40s: kinds %v, want %s", row["frame"], m.Kinds, want)
		}
		if want := row["time_utc"]; want != "" && m.Time.Format(time.DateTime) != want {
			t.Errorf("%.40s: time %v, want %s", row["frame"], m.Time, want)
		}
		if row["lat"] == "" {
			continue
		}
		lat, _ := strconv.ParseFloat(row["lat"], 64)
		lng, _ := strconv.ParseFloat(row["lon"], 64)
		if math.Abs(m.Point.Lat-lat) > 1e-5 || math.Abs(m.Point.Lng-lng) > 1e-5 || (m.Fix != nil) != (row["valid"] == "true") {
			t.Errorf("%.40s: at %v fix %v, want %v %v %s", row["frame"], m.Point, m.Fix, lat, lng, row["valid"])
		}
		if strings.HasPrefix(m.Keyword, "UD") && m.AckWhen != Never {
			t.Errorf("%.40s: a position is answered", row["frame"])
		}
	}
	for _, row := range sostest.Vectors(t, "must.tsv") {
		if row["protocol"] != "watch" {
			continue
		}
		m, err := Decode([]byte(row["frame"]))
		if err != nil || m.Kinds[0] != care.KindSOS || m.Has(care.KindFall) != strings.Contains(row["expect"], "fall") || m.History != strings.Contains(row["expect"], "history") {
			t.Errorf("%s: %v %v", row["expect"], m.Kinds, err)
		}
	}
}

// The worked examples of the protocol's specification, byte for byte.
func TestEncodersMakeTheWorkedExamples(t *testing.T) {
	indexed, err := Decode([]byte("[ZJ*014111001350304*0034*0009*LK,0,0,19]"))
	if err != nil {
		t.Fatal(err)
	}
	for want, got := range map[string][]byte{
		"[3G*8800000015*0070*AL_LTE,221126,080500,A,25.038900,N,102.718300,E,0.0,0,1890,9,80,12,100,0,00230001,1,1,460,0,1234,5678,100,0,10.0]": EncodeAlarm(id, press(StatusSOS|StatusBattery|StatusFall|StatusLow)),
		"[3G*8800000015*000E*CALL,053012349]": Encode("3G", id, "", "CALL,053012349"),
		"[3G*8800000015*0006*INIT,1]":         Encode("3G", id, "", "INIT,1"),
		"[3G*8800000015*000D*LK,50,100,100]":  EncodeHeartbeat(id, 50, 100, 100),
		"[ZJ*014111001350304*0034*0002*LK]":   indexed.Ack,
	} {
		if string(got) != want {
			t.Errorf("\n got %s\nwant %s", got, want)
		}
	}
}

func TestAnswers(t *testing.T) {
	for frame, want := range map[string]string{
		"[3G*8800000015*000D*LK,50,100,100]":                                       "now [3G*8800000015*0002*LK]",
		"[3G*8800000015*0002*lk]":                                                  "now [3G*8800000015*0002*LK]",
		"[3G*8800000015*0027*CONFIG,TY:G75,UL:600,SY:1,CM:1]":                      "now [3G*8800000015*0008*CONFIG,1]",
		"[3G*8800000015*0004*INIT]":                                                "now [3G*8800000015*0006*INIT,1]",
		"[3G*8800000015*0003*TKQ]":                                                 "now [3G*8800000015*0003*TKQ]",
		"[CS*8800000015*000B*oxygen,0,98]":                                         "now [CS*8800000015*0008*oxygen,1]",
		"[3G*8800000015*0013*bphrt,120,79,73,,,,]":                                 "now [3G*8800000015*0005*bphrt]",
		"[3G*8800000015*000A*btemp2,1,1]":                                          "commit [3G*8800000015*0006*btemp2]",
		"[3G*8800000015*0000*AL,180916,064153,A,1,N,1,E,0,0,0,0,0,0,0,0,00100018]": "commit [3G*8800000015*0002*AL]",
		"[3G*8800000015*0000*AL_LTE]":                                              "commit [3G*8800000015*0002*AL]",
		"[3G*8800000015*0007*heart,0]":                                             "never ",
		"[3G*8800000015*0007*HUMBUG!]":                                             "never ",
	} {
		m, err := Decode([]byte(frame))
		if err != nil {
			t.Errorf("%s: %v", frame, err)
			continue
		}
		if got := [...]string{"never", "now", "commit"}[m.AckWhen] + " " + string(m.Ack); got != want {
			t.Errorf("%s: %s, want %s", frame, got, want)
		}
	}
}

// A promise: SOS is never masked, whatever other bits stand beside it, live or stored.
func TestSOSSurvivesEverythingElse(t *testing.T) {
	for _, keyword := range []string{"AL", "AL_LTE", "UD", "UD2", "WT"} {
		for bit := range 32 {
			for _, more := range []uint32{0, StatusLow, 0xFFFF, 0xFFFFFFFF} {
				m, err := Decode(EncodeReport(id, keyword, press(StatusSOS|1<<bit|more)))
				if err != nil || !m.Has(care.KindSOS) || m.Kinds[0] != care.KindSOS || slices.Contains(m.Levels, care.KindSOS) {
					t.Fatalf("%s bit %d with %08x: %v %v %v", keyword, bit, more, m.Kinds, m.Levels, err)
				}
			}
		}
	}
}

func TestStatus(t *testing.T) {
	for _, c := range []struct {
		name, keyword, status string
		kinds, levels         []care.Kind
	}{
		{"SOS on a low battery", "AL", "00010001", []care.Kind{care.KindSOS, care.KindBattery}, nil},
		{"nothing but low battery", "AL", "00000001", []care.Kind{care.KindBattery}, nil},
		{"left the fence, by the low half of old firmware", "AL", "0002", []care.Kind{care.KindGeofenceExit}, nil},
		{"an alarm that says nothing", "AL", "00000000", []care.Kind{care.KindUnspecified}, nil},
		{"an alarm of a bit nobody knows", "AL", "01000000", []care.Kind{care.KindUnspecified}, nil},
		{"an alarm that cannot be read", "AL", "zz", []care.Kind{care.KindUnspecified}, nil},
		{"fence in is information", "AL", "00080000", nil, nil},
		{"abnormal heart rate", "AL", "00400000", []care.Kind{care.KindVital}, nil},
		{"a position on a low battery", "UD", "00000001", []care.Kind{care.KindBattery}, []care.Kind{care.KindBattery}},
		{"a position at rest", "UD", "00000010", nil, nil},
		{"a press that comes as history", "UD2", "00010000", []care.Kind{care.KindSOS}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			m, err := Decode(Encode("3G", id, "", c.keyword+",221126,080500,V,0,N,0,E,0,0,0,0,0,0,0,0,"+c.status))
			if err != nil || !slices.Equal(m.Kinds, c.kinds) || !slices.Equal(m.Levels, c.levels) {
				t.Errorf("kinds %v levels %v %v, want %v %v", m.Kinds, m.Levels, err, c.kinds, c.levels)
			}
		})
	}
}

func TestPressThatComesTwiceHasOneKey(t *testing.T) {
	live, _ := Decode(EncodeAlarm(id, press(StatusSOS)))
	stored, _ := Decode(EncodePosition(id, press(StatusSOS), true))
	later := press(StatusSOS)
	later.Time = later.Time.Add(time.Second)
	next, _ := Decode(EncodeAlarm(id, later))
	if live.DedupKey() != stored.DedupKey() || live.DedupKey() == next.DedupKey() {
		t.Errorf("keys %q %q %q", live.DedupKey(), stored.DedupKey(), next.DedupKey())
	}
}

func TestOddPositions(t *testing.T) {
	for name, c := range map[string]struct {
		fields string
		want   geo.Point
		fix    bool
	}{
		"the sign in number and letter": {"A,-9.5,S,-84.14,W", geo.Point{Lat: -9.5, Lng: -84.14}, true}, "letters missing": {"A,9.5,,84.14,", geo.Point{Lat: 9.5, Lng: 84.14}, true},
		"a space in front": {"A, 9.5,N, 84.14,E", geo.Point{Lat: 9.5, Lng: 84.14}, true}, "A at nought": {"A,0.0,N,0.0,E", geo.Point{}, false},
		"no number": {"A,NaN,N,nan,E", geo.Point{}, false}, "outside the earth": {"A,95,N,10,E", geo.Point{}, false},
	} {
		m, err := Decode(Encode("3G", id, "", "UD,221126,080500,"+c.fields+",0,0,0,0,0,0,0,0,00000000"))
		if err != nil || m.Point != c.want || (m.Fix != nil) != c.fix {
			t.Errorf("%s: %v %v %v", name, m.Point, m.Fix, err)
		}
	}
}

func TestCommaInTheNameOfAStation(t *testing.T) {
	m, err := Decode(Encode("3G", id, "", "UD,221126,080500,V,0,N,0,E,0,0,0,0,0,0,0,0,00000000,1,1,460,0,FFFF,55C0,100,2,at home, upstairs,02:00:00:00:00:01,-53,b,02:00:00:00:00:02,-60,0.0"))
	if err != nil || len(m.Cells) != 1 || m.Cells[0].LAC != "FFFF" || len(m.Wifis) != 2 || m.Wifis[1].MAC != "02:00:00:00:00:02" || m.Wifis[0].RSSI != -53 {
		t.Errorf("cells %v stations %v %v", m.Cells, m.Wifis, err)
	}
}

// feed gives a stream to a framer in pieces.
func feed(t testing.TB, f *Framer, all []byte, cut func(int) bool) (got []string, failed error) {
	var buf []byte
	for i, b := range all {
		buf = append(buf, b)
		if !cut(i) && i != len(all)-1 {
			continue
		}
		for len(buf) > 0 {
			n, frame, err := f.Split(buf, false)
			if err != nil {
				return got, err
			}
			if frame != nil {
				got = append(got, string(frame))
			}
			if n == 0 {
				break
			}
			buf = buf[n:]
		}
	}
	return got, nil
}

func TestFramesDoNotDependOnSegments(t *testing.T) {
	want := []string{"[3G*8800000015*0002*LK]", "[3G*8800000015*FFFF*AL,a[b]c]", string(EncodeVoice(id, []byte("#!AMR}[],*\xff"))), "[3G*8800000015*0002*LK]"}
	all := []byte("\r\nnoise" + strings.Join(want, "\r\n"))
	for at := -1; at <= len(all); at++ {
		got, err := feed(t, &Framer{}, all, func(i int) bool { return i == at || at == len(all) })
		if err != nil || !slices.Equal(got, want) {
			t.Fatalf("cut at %d: %q %v", at, got, err)
		}
	}
}

// The name of a station may hold one bracket alone; the alarm is read all the same.
func TestLoneBracketDoesNotHoldAnAlarmBack(t *testing.T) {
	for _, name := range []string{"[home", "home]", "]]", "[["} {
		content := "AL,221126,080500,V,0,N,0,E,0,0,0,0,0,0,0,0,00010000,0,0,1," + name + ",02:00:00:00:00:01,-53"
		right := string(Encode("3G", id, "", content))
		wrong := strings.Replace(right, right[15:19], "0001", 1) + string(EncodeHeartbeat(id, 1, 2, 3))
		for what, stream := range map[string]string{"LEN right": right, "LEN wrong, a heartbeat behind": wrong} {
			got, err := feed(t, &Framer{}, []byte(stream), func(int) bool { return true })
			if err != nil || len(got) == 0 {
				t.Errorf("%s %q: %q %v", what, name, got, err)
				continue
			}
			if m, err := Decode([]byte(got[0])); err != nil || !m.Has(care.KindSOS) {
				t.Errorf("%s %q: %v %v", what, name, m.Kinds, err)
			}
		}
	}
}

func TestFramesHaveBounds(t *testing.T) {
	never := func(int) bool { return true }
	long := []byte("[3G*8800000015*0000*UD," + strings.Repeat("x", MaxFrame))
	if _, err := feed(t, &Framer{Voice: true}, long, never); !errors.Is(err, ErrTooLong) {
		t.Errorf("text without end: %v", err)
	}
	voice := EncodeVoice(id, bytes.Repeat([]byte{0x5D}, 20_000))
	if _, err := feed(t, &Framer{}, voice, func(int) bool { return false }); !errors.Is(err, ErrTooLong) {
		t.Errorf("voice of a stranger: %v", err)
	}
	got, err := feed(t, &Framer{Voice: true}, voice, func(i int) bool { return i%1000 == 0 })
	if err != nil || len(got) != 1 {
		t.Errorf("voice: %d %v", len(got), err)
	}
	if m, err := Decode([]byte(got[0])); err != nil || m.Type != Voice || string(m.Ack) != "[3G*8800000015*0004*TK,0]" {
		t.Errorf("voice: %v %q %v", m.Type, m.Ack, err)
	}
	endless := append([]byte("[3G*8800000015*0000*TK,"), bytes.Repeat([]byte{1}, MaxVoice)...)
	if _, err := feed(t, &Framer{Voice: true}, endless, func(i int) bool { return i%1000 == 0 }); !errors.Is(err, ErrTooLong) {
		t.Errorf("voice without end: %v", err)
	}
	if _, err := feed(t, &Framer{}, bytes.Repeat([]byte("junk"), 100), never); !errors.Is(err, ErrJunk) {
		t.Errorf("junk: %v", err)
	}
}

func TestEscapes(t *testing.T) {
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	if got := unescape(escape(all)); !bytes.Equal(got, all) {
		t.Errorf("came back as %x", got)
	}
	if e := escape([]byte("}[],*")); string(e) != "}\x01}\x02}\x03}\x04}\x05" {
		t.Errorf("escaped %q", e)
	}
}

func TestBadHeaders(t *testing.T) {
	for _, frame := range []string{"", "[]", "[3G*]", "[3G*88*0002*LK]", "[3G*88000x0015*0002*LK]", "[3G*8800000015*00Z2*LK]", "3G*8800000015*0002*LK", "[THREE*8800000015*0002*LK]"} {
		if _, err := Decode([]byte(frame)); !errors.Is(err, ErrHeader) {
			t.Errorf("%q: %v", frame, err)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte("[3G*8800000015*0002*LK]"))
	f.Add(EncodeAlarm(id, press(StatusSOS)))
	f.Add(EncodeVoice(id, []byte("#!AMR}[],*")))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := Decode(b)
		if err != nil {
			return
		}
		if m.IsAlarm() && m.AckWhen == Now {
			t.Errorf("alarm %v answered before its commit", m.Kinds)
		}
		if m.Type == Alarm && m.HasStatus && m.Status&StatusSOS != 0 && !m.Has(care.KindSOS) {
			t.Error("SOS is masked")
		}
		m.DedupKey()
	})
}

func FuzzFramer(f *testing.F) {
	f.Add([]byte("x[3G*8800000015*0002*LK][3G*8800000015*0009*AL,a[b]c]"), uint8(3))
	f.Fuzz(func(t *testing.T, b []byte, step uint8) {
		if len(b) > 3*MaxFrame {
			return
		}
		one, err := feed(t, &Framer{}, b, func(i int) bool { return i%(int(step)+1) == 0 })
		two, other := feed(t, &Framer{}, b, func(int) bool { return true })
		if err == nil && other == nil && !reflect.DeepEqual(one, two) {
			t.Errorf("frames depend on the segments: %q and %q", one, two)
		}
	})
}

func BenchmarkDecode(b *testing.B) {
	frame := EncodeAlarm(id, press(StatusSOS))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Decode(frame); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "frames/s")
}
