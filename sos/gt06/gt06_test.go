package gt06

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"anling/care"
	"anling/geo"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

var pressed = time.Date(2026, 11, 22, 8, 5, 0, 0, time.UTC)

func press() Report {
	return Report{Time: pressed, Point: geo.Point{Lat: 25.0389, Lng: 102.7183}, Fix: true, Satellites: 8,
		Cell: Cell{MCC: 460, LAC: 0x1234, CID: 0x5678}, Info: InfoSOS | InfoFix | InfoCharging, Voltage: 2, Signal: 3, Code: CodeSOS, Language: 1}
}

// The worked examples of the protocol's specification, byte for byte.
func TestEncodersMakeTheWorkedExamples(t *testing.T) {
	login, err := EncodeLogin("860000000000012", 0x2700, ptr(8*3600), 0, 1)
	if err != nil {
		t.Fatal(err)
	}
	command, err := EncodeCommand("WHERE#", 1, 2, 1)
	if err != nil {
		t.Fatal(err)
	}
	fall := press()
	fall.Info, fall.Voltage, fall.Signal, fall.Code, fall.Language = InfoFix, 5, 4, CodeFall, 2
	fall.Cell.CID = 0x5678ABCD
	for _, c := range []struct {
		name string
		got  []byte
		want string
	}{
		{"login", login, "78781101 0860000000000012 2700 3200 0001 8E47 0D0A"},
		{"answer to the login", EncodeReply(1, 1), "7878050100 01D9DC0D0A"},
		{"heartbeat", EncodeHeartbeat(0x44, 6, 4, 2, 2), "78780A13 4406040002 0002 8F4F 0D0A"},
		{"answer to the heartbeat", EncodeReply(0x13, 2), "787805130002DB6A0D0A"},
		{"SOS", EncodeAlarm(press(), 0x0A1B), "787825261A0B16080500C802AFB6C40B053E0C0014000901CC00123400567864020301010A1B718E0D0A"},
		{"answer to the SOS", EncodeReply(0x26, 0x0A1B), "787805260A1B14490D0A"},
		{"fall by 4G", EncodeAlarm4G(fall, 0xFF, 0x0A1C), "78782DA41A0B16080500C802AFB6C40B053E0C0014001001CC0000001234000000005678ABCD4005042302FF0A1C956E0D0A"},
		{"answer to the fall", EncodeReply(0xA4, 0x0A1C), "787805A40A1CD9A20D0A"},
		{"time request", EncodeTimeRequest(6), "7878058A000688290D0A"},
		{"answer to the time request", EncodeTimeAnswer(6, pressed), "78780B8A 1A0B16080500 0006 5EFD 0D0A"},
		{"command", command, "787812800A0000000157484552452300020001F6EA0D0A"},
	} {
		t.Run(c.name, func(t *testing.T) {
			want := unhex(t, c.want)
			if !bytes.Equal(c.got, want) {
				t.Errorf("\n got %x\nwant %x", c.got, want)
			}
		})
	}
}

func TestChecksum(t *testing.T) {
	if got := Checksum([]byte("123456789")); got != 0x906E {
		t.Errorf("checksum %04x, want 906e", got)
	}
}

func ptr[T any](v T) *T { return &v }

func TestReportsComeBackAsTheyWereSent(t *testing.T) {
	south := press()
	south.Point = geo.Point{Lat: -33.480366, Lng: -70.763069}
	south.Course, south.SpeedKMH = 355, 42
	for name, r := range map[string]Report{"north east": press(), "south west": south} {
		for kind, frame := range map[string][]byte{"26": EncodeAlarm(r, 9), "A4": EncodeAlarm4G(r, 0xFF, 9), "22": EncodePosition(r, 9)} {
			m, err := Decode(frame, Context{})
			if err != nil {
				t.Fatalf("%s %s: %v", name, kind, err)
			}
			if m.Serial != 9 || m.Fix == nil || !m.Time.Equal(r.Time) || m.GPS.SpeedKMH != r.SpeedKMH || m.GPS.Course != r.Course {
				t.Fatalf("%s %s: %+v", name, kind, m)
			}
			if math.Abs(m.Fix.Point.Lat-r.Point.Lat) > 1e-6 || math.Abs(m.Fix.Point.Lng-r.Point.Lng) > 1e-6 {
				t.Errorf("%s %s: at %v, want %v", name, kind, m.Fix.Point, r.Point)
			}
			if len(m.Cells) != 1 || m.Cells[0].LAC != r.Cell.LAC || m.Cells[0].CID != r.Cell.CID {
				t.Errorf("%s %s: cells %v", name, kind, m.Cells)
			}
		}
	}
}

func TestLoginStatesZone(t *testing.T) {
	for zone, text := range map[int]string{8 * 3600: "3200", -(12*3600 + 45*60): "4DD8"} {
		frame, err := EncodeLogin("860000000000012", 1, &zone, 0, 1)
		if err != nil {
			t.Fatal(err)
		}
		if got := hex.EncodeToString(frame[14:16]); !strings.EqualFold(got, text) {
			t.Errorf("zone %d written %s, want %s", zone, got, text)
		}
		m, err := Decode(frame, Context{})
		if err != nil || m.Zone == nil || *m.Zone != zone || m.IMEI != "860000000000012" {
			t.Errorf("zone %d: %+v %v", zone, m, err)
		}
	}
}

// A promise: SOS is never masked. Whatever else an alarm states, in every carrier,
// an SOS in one of them is in the set.
func TestSOSSurvivesEverythingElse(t *testing.T) {
	for info := range 256 {
		for code := range 256 {
			for lang := range 3 {
				r := press()
				r.Info, r.Code, r.Language, r.Fix = byte(info), byte(code), byte(lang), info&1 == 0
				stated := code == CodeSOS || info>>3&7 == 4
				for name, frame := range map[string][]byte{"26": EncodeAlarm(r, 1), "19": EncodeCellAlarm(r, 1), "A4": EncodeAlarm4G(r, 0xFF, 1)} {
					m, err := Decode(frame, Context{})
					if err != nil {
						t.Fatalf("%s info %02x code %02x: %v", name, info, code, err)
					}
					if m.Has(care.KindSOS) != stated {
						t.Fatalf("%s info %02x code %02x lang %d: kinds %v", name, info, code, lang, m.Kinds)
					}
					if stated && m.Kinds[0] != care.KindSOS {
						t.Fatalf("%s info %02x code %02x: SOS is not first: %v", name, info, code, m.Kinds)
					}
					if stated && (m.AckWhen != AfterCommit || len(m.Ack) == 0) {
						t.Fatalf("%s info %02x code %02x: answered %v", name, info, code, m.AckWhen)
					}
				}
			}
		}
	}
}

func TestAlarms(t *testing.T) {
	low := press()
	low.Info, low.Code = InfoBattery, CodeSOS
	cut := press()
	cut.Info, cut.Code = InfoSOS, CodeMains
	odd := press()
	odd.Info, odd.Code = 0, 0x7E
	still := press()
	still.Info, still.Code = 0, 0x03
	clock := press()
	clock.Time = time.Time{}
	for _, c := range []struct {
		name  string
		frame []byte
		kinds []care.Kind
		ack   When
	}{
		{"SOS on a low battery", EncodeAlarm(low, 1), []care.Kind{care.KindSOS, care.KindBattery}, AfterCommit},
		{"SOS in the info byte while mains are cut", EncodeAlarm(cut, 1), []care.Kind{care.KindSOS, care.KindMains}, AfterCommit},
		{"a code nobody knows", EncodeAlarm(odd, 1), []care.Kind{care.KindUnspecified}, AfterCommit},
		{"vibration is information", EncodeAlarm(still, 1), nil, Now},
		{"a clock that was never set", EncodeAlarm(clock, 1), []care.Kind{care.KindSOS}, AfterCommit},
		{"an alarm cut short by its maker", EncodeFrame(0x26, make([]byte, 20), 1), []care.Kind{care.KindUnspecified}, AfterCommit},
		{"camera key without a position", EncodeFrame(0x95, []byte{26, 11, 22, 8, 5, 0, 1}, 1), []care.Kind{care.KindUnspecified}, AfterCommit},
	} {
		t.Run(c.name, func(t *testing.T) {
			m, err := Decode(c.frame, Context{})
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(m.Kinds, c.kinds) || m.AckWhen != c.ack {
				t.Errorf("kinds %v answered %v, want %v %v", m.Kinds, m.AckWhen, c.kinds, c.ack)
			}
		})
	}
}

func TestHeartbeatStatesLevels(t *testing.T) {
	m, err := Decode(EncodeHeartbeat(InfoSOS, 1, 2, 1, 7), Context{})
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(m.Kinds, []care.Kind{care.KindSOS}) || !reflect.DeepEqual(m.Levels, m.Kinds) || m.AckWhen != Now {
		t.Errorf("kinds %v levels %v answered %v", m.Kinds, m.Levels, m.AckWhen)
	}
	m, err = Decode(EncodeHeartbeat(InfoSOS, 1, 2, 1, 7), Context{Profile: Profile{NoHeartbeatSOS: true}})
	if err != nil || m.IsAlarm() {
		t.Errorf("a profile without alarm bits: %v %v", m.Kinds, err)
	}
}

func TestProfilesChangeCodes(t *testing.T) {
	r := press()
	r.Info, r.Code = 0, 0x30
	for model, want := range map[string][]care.Kind{"": {care.KindFault}, "VL103": nil, "JM-VL03": nil} {
		m, err := Decode(EncodeAlarm(r, 1), Context{Profile: ProfileFor(model)})
		if err != nil || !reflect.DeepEqual(m.Kinds, want) {
			t.Errorf("model %q: %v %v, want %v", model, m.Kinds, err, want)
		}
	}
	key := press()
	key.Mode = 0x07
	m, _ := Decode(EncodePosition(key, 1), Context{Profile: Profile{KeyIsSOS: true}})
	if !m.Has(care.KindSOS) {
		t.Errorf("the key of a profile that maps it: %v", m.Kinds)
	}
	if m, _ = Decode(EncodePosition(key, 1), Context{}); m.IsAlarm() {
		t.Errorf("the key by default is evidence only: %v", m.Kinds)
	}
}

func TestLocalTimeIsInTheZoneOfTheLogin(t *testing.T) {
	frame := EncodePosition(press(), 1)
	frame[3] = 0x12
	frame = EncodeFrame(0x12, frame[4:len(frame)-9], 1)
	m, err := Decode(frame, Context{Zone: ptr(8 * 3600)})
	if err != nil || !m.Time.Equal(pressed.Add(-8*time.Hour)) {
		t.Errorf("time %v %v", m.Time, err)
	}
}

func TestErrorsOfFrames(t *testing.T) {
	good := EncodeAlarm(press(), 1)
	flip := func(i int) []byte { b := bytes.Clone(good); b[i] ^= 0x40; return b }
	for name, c := range map[string]struct {
		frame []byte
		want  error
	}{
		"empty": {nil, ErrShort}, "half": {good[:9], ErrShort}, "no start": {flip(0), ErrStart}, "wrong length": {flip(2), ErrLength},
		"a bit flipped": {flip(20), ErrChecksum}, "letters in the IMEI": {EncodeFrame(1, []byte{0x0A, 1, 2, 3, 4, 5, 6, 0xBC}, 1), ErrContent},
		"login without IMEI": {EncodeFrame(1, []byte{8, 6}, 1), ErrContent},
	} {
		if _, err := Decode(c.frame, Context{}); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}

// stream is three good frames between junk.
func stream() (all []byte, frames [][]byte) {
	login, _ := EncodeLogin("860000000000012", 1, nil, 0, 1)
	frames = [][]byte{login, EncodeHeartbeat(4, 6, 4, 1, 2), EncodeAlarm(press(), 3), EncodeLong(0x94, append([]byte{4}, bytes.Repeat([]byte("ALM1=45;"), 40)...), 4)}
	all = append(all, 0x00, 0x78, 0x0A)
	for _, f := range frames {
		all = append(all, f...)
	}
	return all, frames
}

// feed gives a stream to a framer in the pieces that cuts make.
func feed(t testing.TB, all []byte, cut func(i int) bool) (got [][]byte) {
	var framer Framer
	var buf []byte
	for i, b := range all {
		buf = append(buf, b)
		if !cut(i) && i != len(all)-1 {
			continue
		}
		for len(buf) > 0 {
			n, frame, err := framer.Split(buf, false)
			if err != nil {
				t.Fatal(err)
			}
			if frame != nil {
				got = append(got, bytes.Clone(frame))
			}
			if n == 0 {
				break
			}
			buf = buf[n:]
		}
	}
	return got
}

func TestFramesDoNotDependOnSegments(t *testing.T) {
	all, want := stream()
	same := func(name string, got [][]byte) {
		t.Helper()
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("%s: %d frames, want %d", name, len(got), len(want))
		}
	}
	same("all at once", feed(t, all, func(int) bool { return false }))
	same("one byte at a time", feed(t, all, func(int) bool { return true }))
	for at := range all {
		same("cut in two", feed(t, all, func(i int) bool { return i == at }))
	}
}

func TestTornLengthDoesNotSwallowTheAlarmBehindIt(t *testing.T) {
	torn := EncodeHeartbeat(4, 6, 4, 1, 2)
	torn[2] = 0xFF
	alarm := EncodeAlarm(press(), 3)
	got := feed(t, append(torn, alarm...), func(int) bool { return false })
	if len(got) == 0 || !bytes.Equal(got[len(got)-1], alarm) {
		t.Fatalf("frames %x", got)
	}
}

func TestJunkHasABound(t *testing.T) {
	s := bufio.NewScanner(bytes.NewReader(bytes.Repeat([]byte("GET / HTTP/1.1\r\n"), 100)))
	var framer Framer
	s.Split(framer.Split)
	if s.Scan() || !errors.Is(s.Err(), ErrJunk) {
		t.Errorf("scan ended with %v", s.Err())
	}
}

func FuzzDecode(f *testing.F) {
	_, frames := stream()
	for _, frame := range frames {
		f.Add(frame, false)
		f.Add(frame, true)
	}
	f.Add(EncodeAlarm4G(press(), 0xFF, 3), true)
	f.Fuzz(func(t *testing.T, b []byte, unchecked bool) {
		m, err := Decode(b, Context{Unchecked: unchecked})
		if err != nil {
			return
		}
		if m.IsAlarm() && m.Type != Heartbeat && m.Type != Position && m.AckWhen == Now {
			t.Errorf("alarm %v answered before its commit", m.Kinds)
		}
		m.DedupKey("860000000000012")
	})
}

func FuzzFramer(f *testing.F) {
	all, _ := stream()
	f.Add(all, uint8(3))
	f.Fuzz(func(t *testing.T, b []byte, step uint8) {
		if len(b) > 3*MaxFrame {
			return
		}
		collect := func(size int) (frames [][]byte, failed bool) {
			var framer Framer
			var buf []byte
			for len(b) > 0 || len(buf) > 0 {
				n := min(size, len(b))
				buf, b = append(buf, b[:n]...), b[n:]
				for {
					used, frame, err := framer.Split(buf, false)
					if err != nil {
						return frames, true
					}
					if frame != nil {
						frames = append(frames, bytes.Clone(frame))
					}
					if used == 0 {
						break
					}
					buf = buf[used:]
				}
				if len(buf) > MaxFrame {
					t.Fatalf("%d bytes wait for a frame", len(buf))
				}
				if n == 0 {
					return frames, false
				}
			}
			return frames, false
		}
		whole := b
		one, failed := collect(1 + int(step))
		b = whole
		two, failedToo := collect(1 + len(whole))
		if !failed && !failedToo && !reflect.DeepEqual(one, two) {
			t.Errorf("frames depend on the segments: %x and %x", one, two)
		}
	})
}
