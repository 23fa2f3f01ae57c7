package care

import (
	"cmp"
	"context"
	"errors"
	"strings"
)

// Device is one device with its last signs of life.
func (r *Registry) Device(ctx context.Context, id DeviceID) (Device, error) {
	return r.store.Device(ctx, id)
}

// DeviceByExternal is the device of a protocol's identity: IMEI, watch id.
func (r *Registry) DeviceByExternal(ctx context.Context, protocol, externalID string) (Device, error) {
	return r.store.DeviceByExternal(ctx, protocol, externalID)
}

// Devices lists devices by id.
func (r *Registry) Devices(ctx context.Context, f DeviceFilter) ([]Device, error) {
	return r.store.Devices(ctx, f)
}

// TouchDevices writes signs of life, of many devices in few commits. A touch is no
// change: no version moves, no event is told.
func (r *Registry) TouchDevices(ctx context.Context, signs []DeviceSign) error {
	return r.store.TouchDevices(ctx, signs)
}

// protocols are those that a device can be heard by; "number" is a telephone alone.
var protocols = []string{"gt06", "watch", "sip", "number"}

var deviceStates = []string{"stock", "active", "faulty", "lost", "returned"}

func (r *Registry) checkDevice(d *Device) error {
	d.ExternalID, d.Protocol = strings.TrimSpace(d.ExternalID), strings.ToLower(strings.TrimSpace(d.Protocol))
	if err := oneOf("protocol", d.Protocol, protocols); err != nil {
		return err // nobody would ever hear such a device
	}
	if d.SIMNumber != "" {
		n, err := NormalizePhone(d.SIMNumber, r.o.PhoneAreaCode)
		if err != nil {
			return Invalid("sim_number", "%s is not a telephone number", MaskPhone(d.SIMNumber))
		}
		d.SIMNumber = n
	}
	if d.ExternalID == "" && d.SIMNumber != "" {
		d.ExternalID = strings.TrimPrefix(d.SIMNumber, "+") // a device that is only a number
	}
	if d.ExternalID == "" {
		return Invalid("external_id", "is empty: the device states an IMEI or an id")
	}
	if len(d.ExternalID) > 64 {
		return Invalid("external_id", "is longer than 64 characters")
	}
	// The check digit is not held against it: many cheap devices have a wrong one.
	if d.Protocol == "gt06" && (len(d.ExternalID) != 15 || !digits(d.ExternalID)) {
		return Invalid("external_id", "a gt06 device states an IMEI of 15 digits")
	}
	if d.State == "" {
		d.State = "active"
	}
	if d.Datum == "" {
		d.Datum = "wgs84"
	}
	if d.HeartbeatSec < 0 {
		return Invalid("heartbeat_sec", "%d is negative", d.HeartbeatSec)
	}
	return cmp.Or(oneOf("state", d.State, deviceStates), oneOf("datum", d.Datum, []string{"wgs84", "gcj02", "bd09", "cgcs2000"}))
}

// SaveDevice saves a device; protocol and external id are unique together.
func (r *Registry) SaveDevice(ctx context.Context, d Device, actor string) (Device, error) {
	if err := r.checkDevice(&d); err != nil {
		return Device{}, err
	}
	fresh := d.ID == ""
	if fresh {
		d.ID = NewID[DeviceID]()
	}
	err := r.store.Change(ctx, func(tx Tx) error {
		var was int64
		if !fresh {
			old, err := tx.Device(d.ID)
			if err != nil {
				return err
			}
			if old.Version != d.Version {
				return Refuse(ErrTaken, "the device was changed by another; read it again")
			}
			was = old.Version
		}
		return r.putDevice(tx, d, was, actor)
	})
	if err != nil {
		return Device{}, err
	}
	r.changed("device", string(d.ID))
	return r.store.Device(ctx, d.ID)
}

func (r *Registry) putDevice(tx Tx, d Device, was int64, actor string) error {
	if d.ElderID != "" {
		if _, err := tx.Elder(d.ElderID); err != nil {
			return err
		}
	}
	other, err := tx.DeviceByExternal(d.Protocol, d.ExternalID)
	if err == nil && other.ID != d.ID {
		return Invalid("external_id", "another %s device has this id", d.Protocol)
	}
	if err != nil && !errors.Is(err, ErrNotFound) {
		return err
	}
	now := r.o.Now().UTC()
	d.UpdatedAt, d.Version = now, was+1
	if was == 0 {
		d.CreatedAt = now
	}
	if err := tx.SaveDevice(d, was); err != nil {
		return err
	}
	return tx.Append(r.fact(DeviceSaved, "device", string(d.ID), d.Version, actor, "", map[string]any{"device_id": d.ID, "elder_id": d.ElderID, "protocol": d.Protocol, "state": d.State}))
}
