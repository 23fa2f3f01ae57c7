package gt06

import (
	"bytes"
	"strconv"
	"strings"
	"testing"
	"time"

	"anling/care"
	"anling/sos/sostest"
)

// vectorKinds are the words of the vectors; those without an entry are information.
var vectorKinds = map[string]care.Kind{"sos": care.KindSOS, "fall_down": care.KindFall, "low_battery": care.KindBattery, "low_power": care.KindBattery,
	"power_cut": care.KindMains, "power_off": care.KindPowerOff, "removing": care.KindRemoved, "tampering": care.KindTamper,
	"accident": care.KindCollision, "general": care.KindUnspecified, "door": care.KindDoor, "geofence_exit": care.KindGeofenceExit}

// unread names the rows of which the layout is not known, by the beginning of the
// frame: they are taken as far as they go.
var unread = map[string]string{
	"787805120099": "a position without content is a sign of life",
}

func TestVectors(t *testing.T) {
	rows := sostest.Vectors(t, "gt06.tsv")
	if len(rows) < 80 {
		t.Fatalf("%d rows", len(rows))
	}
	for _, row := range rows {
		frame := unhex(t, row["frame"])
		m, err := Decode(frame, Context{Profile: ProfileFor(row["model"]), Unchecked: row["checksum"] != "ok"})
		if err != nil {
			t.Errorf("%s %.24s: %v", row["type"], row["frame"], err)
			continue
		}
		if string(m.Type) != row["type"] {
			t.Errorf("%.24s: type %s, want %s", row["frame"], m.Type, row["type"])
		}
		if serial, _ := strconv.Atoi(row["serial"]); row["checksum"] == "ok" && int(m.Serial) != serial {
			t.Errorf("%.24s: serial %d, want %d", row["frame"], m.Serial, serial)
		}
		if want, known := vectorKinds[row["expected_alarm"]]; known && !m.Has(want) {
			t.Errorf("%s %.24s: kinds %v, want %s", row["type"], row["frame"], m.Kinds, want)
		}
		if row["expected_alarm"] != "sos" && row["expected_alarm"] != "" && m.Has(care.KindSOS) {
			t.Errorf("%s %.24s: a false SOS", row["type"], row["frame"])
		}
		if want := row["time_utc"]; want != "" && m.Time.Format(time.DateTime) != want {
			t.Errorf("%s %.24s: time %v, want %s", row["type"], row["frame"], m.Time, want)
		}
		if row["test_expect"] == "position" && (row["type"] == "position" || row["type"] == "alarm") && (m.GPS == nil || m.GPS.Point.IsZero()) {
			if why := unread[row["frame"][:12]]; why == "" {
				t.Errorf("%s %.24s: no position", row["type"], row["frame"])
			}
		}
		if m.Type == Login && (len(m.IMEI) != 15 || !bytes.Equal(m.Ack, EncodeReply(1, m.Serial))) {
			t.Errorf("%.24s: login %q answered %x", row["frame"], m.IMEI, m.Ack)
		}
		if row["checksum"] == "ok" && frame[0] == 0x78 {
			frame[len(frame)-3] ^= 1
			if _, err := Decode(frame, Context{}); err == nil {
				t.Errorf("%.24s: a wrong checksum is taken", row["frame"])
			}
		}
	}
}

func TestMustVectors(t *testing.T) {
	checked := 0
	for _, row := range sostest.Vectors(t, "must.tsv") {
		if row["protocol"] != "gt06" {
			continue
		}
		m, err := Decode(unhex(t, row["frame"]), Context{})
		if err != nil || len(m.Kinds) != 1 || m.Kinds[0] != care.KindSOS || m.AckWhen != AfterCommit {
			t.Errorf("%s: %v %v", row["expect"], m.Kinds, err)
		}
		if noFix := strings.Contains(row["expect"], "no fix"); noFix != (m.Fix == nil) {
			t.Errorf("%s: fix %v", row["expect"], m.Fix)
		}
		checked++
	}
	if checked == 0 {
		t.Fatal("no rows")
	}
}
