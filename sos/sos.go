// Package sos receives alarms from devices. A sub-package per device protocol turns
// bytes into an alarm; Intake does everything after that: it finds the device and
// its elder, the position to go to, the key under which a repeat is known, and asks
// for an incident. Supervision watches for devices that fall silent.
//
// The package also keeps the door that all protocols share: how many peers may be
// connected, how long they may take, and that an alarm is answered only after the
// incident stands.
package sos

import (
	"context"
	"slices"
	"time"

	"anling/care"
)

// Receiver takes what sessions hear from devices; Intake is one.
type Receiver interface {
	// Receive returns once an incident stands for the alarm, durably. Only a nil
	// error allows a positive answer to the device.
	Receive(ctx context.Context, a care.Alarm) (care.Opened, error)
	// Seen takes a sign of life. It never blocks.
	Seen(s Sign)
	// Keep stores a frame that nobody could read, before it is answered.
	Keep(ctx context.Context, f RawFrame) error
}

// Models tells the model a device is registered with, which chooses its profile;
// Intake is one. An empty answer means the protocol's default.
type Models interface {
	Model(ctx context.Context, protocol, external string) string
}

// Opener makes an incident stand; dispatch.Board and dispatch.Guard are openers.
type Opener interface {
	Open(ctx context.Context, r care.OpenRequest) (care.Opened, error)
}

// Directory knows devices and elders; care.Registry is one.
type Directory interface {
	DeviceByExternal(ctx context.Context, protocol, external string) (care.Device, error)
	Elder(ctx context.Context, id care.ElderID) (care.Elder, error)
}

// Sign is a sign of life: any valid frame of a device. Pointers are nil for what the
// frame did not say.
type Sign struct {
	Protocol  string
	ClaimedID string
	At        time.Time // when it was received
	Battery   *int
	Charging  *bool
	Signal    *int
	Fix       *care.Fix
	States    bool        // the frame states which levels hold: the rest do not
	Levels    []care.Kind // levels that hold, when States
}

// RawFrame is a frame of a device that could not be read, or of a type unknown.
type RawFrame struct {
	Protocol  string
	ClaimedID string
	At        time.Time
	Reason    string
	Raw       []byte // at most 4 KiB
}

// MaxRaw is how much of a frame is kept.
const MaxRaw = 4096

// Keep returns a copy of at most MaxRaw bytes of a frame.
func Keep(frame []byte) []byte { return slices.Clone(frame[:min(len(frame), MaxRaw)]) }

// TimeQuality judges a device's own time against the time of receipt.
func TimeQuality(device, received time.Time, history bool) string {
	if device.IsZero() {
		return "absent"
	}
	skew := received.Sub(device)
	switch {
	case skew < -24*time.Hour, device.Year() < 2015, !history && skew > 24*time.Hour:
		return "suspect"
	case skew < -10*time.Minute, !history && skew > 10*time.Minute:
		return "skewed"
	}
	return "good"
}
