package gt06

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strings"
	"time"
	"unicode/utf16"

	"anling/care"
	"anling/geo"
)

const unitsPerDegree = 1_800_000

// Context is what a frame does not say itself.
type Context struct {
	Profile   Profile
	Zone      *int // seconds east of UTC, from the login or the registry; nil is UTC
	Unchecked bool // frames from logs: checksum and length are not looked at
}

// Decode reads one frame. All carriers of a frame are read and their kinds united;
// none hides another. Content is not copied: the message lives as long as the frame.
func Decode(frame []byte, ctx Context) (Message, error) {
	var m Message
	err := decode(frame, &ctx, &m)
	return m, err
}

// decode is Decode into a message of the caller: sessions keep their stacks small.
func decode(frame []byte, ctx *Context, m *Message) error {
	e, err := open(frame, ctx.Unchecked)
	if err != nil {
		return err
	}
	m.Type, m.Proto, m.Extended, m.Serial, m.Content, m.length = Unknown, e.proto, e.extended, e.serial, e.content, e.length
	d := decoder{m: m, reader: reader{b: e.content}, ctx: ctx}
	d.message(e.counted)
	if d.err != nil {
		return fmt.Errorf("message %02x: %w", e.proto, d.err)
	}
	return nil
}

// decoder reads one message; its first error stays.
type decoder struct {
	reader
	m   *Message
	ctx *Context
}

// message goes by the protocol number. Lengths are those of the length field.
func (d *decoder) message(counted bool) {
	m := d.m
	reply := EncodeReply(m.Proto, m.Serial)
	switch {
	case m.Extended:
		d.long(reply)
	case counted:
		d.countedWifi(m.length)
	default:
		d.short(reply)
	}
	if m.Type == Alarm {
		if d.err != nil { // its checksum is right: somebody pressed, whatever the layout
			m.add(care.KindUnspecified)
			m.doubt(d.err.Error())
			d.err = nil
		}
		m.AckWhen, m.Ack = AfterCommit, reply
		if len(m.Kinds) == 0 {
			m.AckWhen = Now // information: nothing has to be durable
		}
	}
	if m.Type == Position && d.ctx.Profile.AckPositions {
		m.AckWhen, m.Ack = Now, reply
	}
}

func (d *decoder) short(reply []byte) {
	m := d.m
	switch m.Proto {
	case 0x01:
		d.login()
		m.AckWhen, m.Ack = Now, reply
	case 0x13, 0x23:
		m.Type = Heartbeat
		d.heartbeat()
		m.AckWhen, m.Ack = Now, reply
	case 0x10, 0x11, 0x12, 0x22, 0xA0:
		m.Type = Position
		d.position()
	case 0x16, 0x26, 0x27, 0xA4:
		m.Type = Alarm
		d.alarm()
	case 0xA3:
		d.fenceAlarm(reply)
	case 0x19, 0xA5:
		d.cellAlarm()
	case 0xA9:
		m.Type = Alarm
		d.wifiAlarm()
	case 0x39:
		m.Type = Alarm
		d.modularAlarm()
	case 0x95:
		m.Type = Alarm
		d.cameraAlarm()
	case 0xA2:
		if m.length == 0x40 {
			d.positionLW4G()
			return
		}
		d.surroundings(Wifi, true)
	case 0x2C:
		d.surroundings(Wifi, false)
	case 0xA1:
		d.surroundings(Cells, true)
	case 0x24, 0x28, 0x2E:
		d.surroundings(Cells, false)
	case 0x17, 0x69:
		d.countedWifi(m.length)
	case 0x8A:
		m.Type, m.AckWhen = TimeRequest, Now
	case 0x2A:
		m.Type = Address
		d.gps(false)
	case 0x15:
		m.Type = Reply
		d.u8()
		m.Flag = d.u32()
		m.Text = clean(d.take(max(0, d.left()-2)))
	case 0x94: // short ones come in the short frame
		m.Type = Info
		d.information()
	default:
		if m.Proto < 0x80 || m.Proto > 0x82 {
			m.AckWhen, m.Ack = AfterCommit, reply
		}
	}
}

// long reads the messages of 79 79 frames.
func (d *decoder) long(reply []byte) {
	m := d.m
	switch m.Proto {
	case 0x94:
		m.Type = Info
		d.information()
	case 0x21:
		m.Type = Reply
		m.Flag = d.u32()
		m.Encoding = d.u8()
		m.Text = d.text(m.Encoding)
	case 0x70:
		m.Type = Modular
		d.modules()
		m.AckWhen, m.Ack = Now, reply
		if len(m.Kinds) > 0 {
			m.AckWhen = AfterCommit
		}
	case 0xF1, 0xF2:
		m.AckWhen, m.Ack = AfterCommit, reply
	case 0x41:
		m.AckWhen, m.Ack = AfterCommit, EncodeLong(m.Proto, nil, m.Serial)
	}
}

// login is 2.2, row 01.
func (d *decoder) login() {
	m := d.m
	m.Type = Login
	m.IMEI = d.imei()
	if d.left() >= 2 {
		m.Model = d.u16()
	}
	if d.left() >= 2 {
		v := d.u16()
		hhmm := int(v >> 4)
		zone := hhmm/100*3600 + hhmm%100*60
		if v&8 != 0 {
			zone = -zone
		}
		m.Language = byte(v & 3)
		if hhmm/100 > 14 || hhmm%100 > 59 {
			m.doubt("zone of the login is impossible")
			return
		}
		m.Zone = &zone
	}
}

// heartbeat takes from the info byte only SOS and low battery, as states.
func (d *decoder) heartbeat() {
	m, p := d.m, d.ctx.Profile
	info := d.u8()
	m.info(info)
	if !p.NoHeartbeatSOS {
		switch info >> 3 & 7 {
		case 4:
			m.level(care.KindSOS)
		case 3:
			m.level(care.KindBattery)
		}
	}
	switch {
	case m.Proto == 0x23:
		if d.left() >= 3 {
			d.volts()
		}
		m.signal(d.u8())
	case m.length >= 0x13: // 13 and 15
		d.u16()
		code := d.u8()
		d.u8()
		m.voltagePercent(d.u8())
		if d.left() >= 3 {
			d.u8()
			d.volts()
		}
		if p.HeartbeatAlarm && d.err == nil {
			m.alarmCode(p, uint16(code))
		}
	default:
		m.voltage(d.u8())
		m.signal(d.u8())
		if d.left() > 0 {
			if code := d.u8(); p.HeartbeatAlarm {
				m.alarmCode(p, uint16(code))
			}
		}
	}
}

func (m *Message) voltagePercent(v byte) {
	if v <= 100 {
		m.Battery = percent(int(v))
	}
}

// position is 10, 11, 12, 22 and A0. An empty one is taken as a sign of life.
func (d *decoder) position() {
	m := d.m
	if d.left() == 0 {
		return
	}
	d.gps(m.Proto == 0x12 || m.Proto == 0x10 || m.Proto == 0x11)
	switch m.Proto {
	case 0x10:
		return
	case 0x11:
		d.oldCell()
		return
	}
	if d.left() < 8 || !d.cell(m.Proto == 0xA0) {
		return
	}
	if m.Proto == 0x12 {
		if m.length == 0x2B { // S5
			d.statusS5()
		}
		return
	}
	if d.left() < 3 {
		return
	}
	d.u8() // ACC
	mode := d.u8()
	m.Mode = &mode
	m.History = d.u8() == 1
	m.code("mode", mode)
	if mode == 0x07 && d.ctx.Profile.KeyIsSOS {
		m.add(care.KindSOS)
	}
}

// statusS5 reads what S5 models append; their code is taken when it is a known one.
func (d *decoder) statusS5() {
	if d.left() < 5 {
		return
	}
	d.m.alarmInfo(d.u8())
	d.volts()
	d.m.signal(d.u8())
	d.knownCode()
}

func (d *decoder) knownCode() {
	code := uint16(d.u8())
	if _, known := alarmKinds[code]; known && code != 0 {
		d.m.alarmCode(d.ctx.Profile, code)
	}
}

// positionLW4G is A2 of length 40.
func (d *decoder) positionLW4G() {
	m := d.m
	m.Type = Position
	d.gps(false)
	d.cell(true)
	d.u8()
	m.alarmInfo(d.u8())
	d.volts()
	m.voltagePercent(d.u8())
	m.signal(d.u8())
	d.knownCode()
	if len(m.Kinds) > 0 {
		m.AckWhen, m.Ack = AfterCommit, EncodeReply(m.Proto, m.Serial)
	}
}

// alarm is 16, 26, 27 and A4, with the lengths that move the alarm block.
func (d *decoder) alarm() {
	m := d.m
	d.gps(m.Proto == 0x16)
	if d.err != nil {
		return
	}
	switch {
	case m.Proto == 0x16 && m.length == 0x24: // VXT01: no length of the cell, no alarm byte
		d.cell(false)
		info := d.u8()
		if info != 7 { // overspeed
			m.alarmInfo(info)
		}
		d.volts()
		m.signal(d.u8())
		return
	case m.Proto == 0x16 && m.length == 0x26: // SEEWORLD: the cell id has four bytes
		d.u8()
		mcc, mnc := d.network()
		m.Cells = append(m.Cells, Cell{MCC: mcc, MNC: mnc, LAC: uint32(d.u16()), CID: uint64(d.u32())})
		d.off = 28
		d.alarmBlock(false)
		return
	}
	size := int(d.u8())
	wide := m.Proto == 0xA4
	block := 18 + size
	switch {
	case size == 0:
		block = len(d.b) - 5
	case size < 9:
		block = 19 + 8
	}
	if size >= 8 && d.off+8 <= block {
		d.cell(wide)
	}
	if block < d.off {
		d.fail(fmt.Errorf("%w: alarm block at %d", ErrContent, block))
	}
	d.off = block
	d.alarmBlock(wide || m.Proto == 0x27)
}

// alarmBlock is info, voltage, signal, code, language; extended codes take the high
// nibble of the language.
func (d *decoder) alarmBlock(extended bool) {
	b := d.take(5)
	if b == nil {
		return
	}
	d.m.alarmInfo(b[0])
	d.m.voltage(b[1])
	d.m.signal(b[2])
	d.alarmByte(b[3], b[4], extended)
}

func (d *decoder) alarmByte(code, lang byte, extended bool) {
	full := uint16(code)
	if extended {
		full |= uint16(lang>>4) << 8
	}
	d.m.Language = lang & 3
	d.m.alarmCode(d.ctx.Profile, full)
}

// fenceAlarm is A3; at lengths 0C and 18 it is the status frame of SEEWORLD models.
func (d *decoder) fenceAlarm(reply []byte) {
	m := d.m
	if m.length == 0x0C || m.length == 0x18 {
		m.Type, m.AckWhen, m.Ack = Status, Now, reply
		return
	}
	m.Type = Alarm
	d.gps(false)
	d.u8()
	d.cell(true)
	if d.err == nil {
		d.off = len(d.b) - 5
	}
	d.alarmBlock(false)
}

// cellAlarm is 19 and A5; a 19 of length 17 or more is a list of cells.
func (d *decoder) cellAlarm() {
	m := d.m
	if m.Proto == 0x19 && m.length >= 0x17 {
		d.surroundings(Cells, false)
		return
	}
	m.Type = Alarm
	d.cell(m.Proto == 0xA5)
	d.alarmBlock(false)
}

// wifiAlarm is A9.
func (d *decoder) wifiAlarm() {
	m := d.m
	m.Time = d.clock()
	mcc, mnc := d.network()
	wide := d.u8() > 0
	for n := int(d.u8()); n > 0 && d.err == nil; n-- {
		d.listCell(mcc, mnc, wide)
	}
	d.u8() // timing advance
	d.wifis(int(d.u8()))
	code, lang := d.u8(), d.u8()
	if d.err == nil {
		d.alarmByte(code, lang, true)
	}
}

// modularAlarm is 39.
func (d *decoder) modularAlarm() {
	d.gps(false)
	wide := d.u8() >= 3
	d.cell(wide)
	d.u8()
	if wide {
		d.u8()
	}
	d.alarmBlock(true)
}

// cameraAlarm is 95. Its 01 is SOS only when a position comes with it.
func (d *decoder) cameraAlarm() {
	m := d.m
	versioned := len(d.b) >= 3 && d.b[0] == 0xFF && d.b[1] == 0xFF
	if versioned {
		d.take(3)
	}
	m.Time = d.clock()
	placed := d.left() >= 11
	if placed {
		g := GPS{Time: m.Time}
		if versioned {
			g.Satellites = int(d.u8() & 0x0F)
		}
		lat, lng := d.u32(), d.u32()
		if versioned {
			g.SpeedKMH = int(d.u8())
		}
		d.place(&g, lat, lng, d.u16())
		if versioned {
			d.take(3)
		}
	}
	event := d.u8()
	if d.err != nil {
		return
	}
	m.code("event", event)
	if event == 0x01 && placed {
		m.add(care.KindSOS)
		return
	}
	m.mapped(cameraKinds, uint16(event))
}

// surroundings are the lists of cells and access points: 28, 2E, 24, A1, 2C, A2. What
// does not fit the layout is left out: they carry no alarm.
func (d *decoder) surroundings(t Type, wide bool) {
	m := d.m
	m.Type = t
	m.Time = d.clock()
	if d.err != nil {
		return
	}
	mcc, mnc := d.network()
	for range 7 {
		if d.err == nil {
			d.listCell(mcc, mnc, wide)
		}
	}
	d.u8() // timing advance
	if t == Wifi {
		d.wifis(int(d.u8()))
	}
	if d.err != nil {
		d.err = nil
		m.doubt("list is shorter than its layout")
	}
}

// countedWifi is 17 and 69, whose length byte may be a count. Its clock is BCD.
func (d *decoder) countedWifi(count int) {
	m := d.m
	m.Type = Wifi
	raw := d.take(6)
	if raw == nil {
		return
	}
	m.Time = bcdClock(raw)
	d.wifis(count)
	if n := int(d.u8()); d.err == nil {
		mcc, mnc := int(d.u16()), int(d.u8())
		for ; n > 0 && d.err == nil; n-- {
			c := Cell{MCC: mcc, MNC: mnc, LAC: uint32(d.u16()), CID: uint64(d.u16()), RSSI: int(d.u8())}
			if d.err == nil {
				m.Cells = append(m.Cells, c)
			}
		}
	}
	if d.err != nil {
		d.err = nil
		m.doubt("list is shorter than its count")
	}
	m.AckWhen, m.Ack = Now, encodeWifiAnswer(m.Proto, raw)
}

// information is 94.
func (d *decoder) information() {
	m := d.m
	sub := d.u8()
	m.code("sub", sub)
	switch sub {
	case 0x00:
		d.volts()
	case 0x04:
		m.Text = clean(d.take(d.left()))
	case 0x0A:
		m.IMEI = d.imei()
		m.IMSI = strings.TrimLeft(hex.EncodeToString(d.take(8)), "0")
		m.ICCID = hex.EncodeToString(d.take(10))
	}
}

// modules is 70: a list of (type u16, length u16, data).
func (d *decoder) modules() {
	m := d.m
	for d.left() >= 4 && d.err == nil {
		kind, size := d.u16(), int(d.u16())
		data := d.take(size)
		switch {
		case data == nil && size > 0:
		case kind == 0x33 && size >= 18:
			in := decoder{m: m, reader: reader{b: data}, ctx: d.ctx}
			g := GPS{Time: time.Unix(int64(in.u32()), 0).UTC(), Satellites: int(in.u8())}
			in.u16() // altitude
			lat, lng := in.u32(), in.u32()
			g.SpeedKMH = int(in.u8())
			m.Time = g.Time
			in.place(&g, lat, lng, in.u16())
		case kind == 0x34 && size >= 1:
			m.code("event", data[0])
			m.mapped(eventKinds, uint16(data[0]))
			if size >= 5 && m.Time.IsZero() {
				m.Time = time.Unix(int64(binary.BigEndian.Uint32(data[1:])), 0).UTC()
			}
		}
	}
	if d.err != nil && len(m.Kinds) > 0 { // a torn list hides no alarm that was read
		d.err = nil
		m.doubt("list of modules is torn")
	}
}

// gps reads the block of 18 bytes; local times are in the device's zone.
func (d *decoder) gps(local bool) {
	m := d.m
	t := d.clock()
	if local && d.ctx.Zone != nil && !t.IsZero() {
		t = t.Add(-time.Duration(*d.ctx.Zone) * time.Second)
	}
	g := GPS{Time: t, Satellites: int(d.u8() & 0x0F)}
	lat, lng := d.u32(), d.u32()
	g.SpeedKMH = int(d.u8())
	flags := d.u16()
	if d.err != nil {
		return
	}
	m.Time = t
	g.AccKnown, g.Acc = flags&(1<<14) != 0, flags&(1<<15) != 0
	d.place(&g, lat, lng, flags)
}

// place reads a position; it is a fix when the receiver says so and it can be true.
func (d *decoder) place(g *GPS, lat, lng uint32, flags uint16) {
	if d.err != nil {
		return
	}
	g.Course = int(flags & 0x3FF)
	g.Valid = flags&(1<<12) != 0
	p := geo.Point{Lat: float64(lat) / unitsPerDegree, Lng: float64(lng) / unitsPerDegree}
	if flags&(1<<10) == 0 {
		p.Lat = -p.Lat
	}
	if flags&(1<<11) != 0 {
		p.Lng = -p.Lng
	}
	d.m.GPS = g
	if lat > 90*unitsPerDegree || lng > 180*unitsPerDegree {
		d.m.doubt("position is outside the earth")
		return
	}
	g.Point = p
	if g.Valid && !p.IsZero() {
		d.m.Fix = &care.Fix{Point: p, Source: care.FixGNSS, At: g.Time}
	}
}

// cell reads one cell and reports whether it was there.
func (d *decoder) cell(wide bool) bool {
	mcc, mnc := d.network()
	c := Cell{MCC: mcc, MNC: mnc}
	if wide {
		c.LAC, c.CID = d.u32(), d.u64()
	} else {
		c.LAC, c.CID = uint32(d.u16()), uint64(d.u24())
	}
	if d.err != nil {
		return false
	}
	if c.LAC != 0 || c.CID != 0 {
		d.m.Cells = append(d.m.Cells, c)
	}
	return true
}

// oldCell is the cell of 11.
func (d *decoder) oldCell() {
	if d.left() < 10 {
		return
	}
	d.m.Cells = append(d.m.Cells, Cell{MCC: int(d.u16()), MNC: int(d.u16()), LAC: uint32(d.u16()), CID: uint64(d.u32())})
}

// listCell reads a cell of a list, which shares its network.
func (d *decoder) listCell(mcc, mnc int, wide bool) {
	c := Cell{MCC: mcc, MNC: mnc}
	if wide {
		c.LAC, c.CID = d.u32(), d.u64()
	} else {
		c.LAC, c.CID = uint32(d.u16()), uint64(d.u24())
	}
	c.RSSI = int(d.u8())
	if d.err == nil && (c.LAC != 0 || c.CID != 0) {
		d.m.Cells = append(d.m.Cells, c)
	}
}

// network reads MCC and MNC; bit 15 of the MCC tells that the MNC has two bytes.
func (d *decoder) network() (mcc, mnc int) {
	v := d.u16()
	if v&0x8000 != 0 {
		return int(v & 0x7FFF), int(d.u16())
	}
	return int(v), int(d.u8())
}

func (d *decoder) wifis(n int) {
	for ; n > 0 && d.err == nil; n-- {
		mac, rssi := d.take(6), d.u8()
		if d.err == nil {
			d.m.Wifis = append(d.m.Wifis, AccessPoint{MAC: macText(mac), RSSI: int(rssi)})
		}
	}
}

func macText(b []byte) string {
	return fmt.Sprintf("%02x:%02x:%02x:%02x:%02x:%02x", b[0], b[1], b[2], b[3], b[4], b[5])
}

// volts reads a voltage in hundredths.
func (d *decoder) volts() {
	if v := float64(d.u16()) / 100; d.err == nil {
		d.m.Volts = &v
	}
}

// imei reads 15 digits behind a leading nibble.
func (d *decoder) imei() string {
	b := d.take(8)
	if b == nil {
		return ""
	}
	s := hex.EncodeToString(b)[1:]
	if strings.ContainsAny(s, "abcdef") {
		d.fail(fmt.Errorf("%w: IMEI %s", ErrContent, s))
		return ""
	}
	return s
}

// clock reads year, month, day, hour, minute, second; an impossible time is the zero
// time: the alarm counts all the same.
func (d *decoder) clock() time.Time {
	b := d.take(6)
	if b == nil {
		return time.Time{}
	}
	return moment(int(b[0]), int(b[1]), int(b[2]), int(b[3]), int(b[4]), int(b[5]))
}

func moment(yy, mo, dd, h, mi, s int) time.Time {
	t := time.Date(2000+yy, time.Month(mo), dd, h, mi, s, 0, time.UTC)
	if yy > 99 || int(t.Month()) != mo || t.Day() != dd || h > 23 || mi > 59 || s > 59 {
		return time.Time{}
	}
	return t
}

func bcdClock(b []byte) time.Time {
	v := make([]int, 6)
	for i, c := range b {
		if c>>4 > 9 || c&15 > 9 {
			return time.Time{}
		}
		v[i] = int(c>>4)*10 + int(c&15)
	}
	return moment(v[0], v[1], v[2], v[3], v[4], v[5])
}

// text reads the rest as ASCII or UTF-16.
func (d *decoder) text(encoding byte) string {
	b := d.take(d.left())
	if encoding != 2 {
		return clean(b)
	}
	u := make([]uint16, 0, len(b)/2)
	for i := 0; i+1 < len(b); i += 2 {
		u = append(u, binary.BigEndian.Uint16(b[i:]))
	}
	return clean([]byte(string(utf16.Decode(u))))
}

// clean is text without zero bytes and without what is no UTF-8.
func clean(b []byte) string {
	return strings.ToValidUTF8(strings.Trim(string(b), "\x00"), "?")
}

// reader takes big-endian numbers from a slice. After the first lack it returns
// zeroes; err tells.
type reader struct {
	b   []byte
	off int
	err error
}

func (r *reader) left() int { return len(r.b) - r.off }

func (r *reader) fail(err error) {
	if r.err == nil {
		r.err = err
	}
}

func (r *reader) take(n int) []byte {
	if r.err != nil {
		return nil
	}
	if r.off < 0 || n > r.left() {
		r.fail(fmt.Errorf("%w: %d bytes at %d of %d", ErrContent, n, r.off, len(r.b)))
		return nil
	}
	b := r.b[r.off : r.off+n]
	r.off += n
	return b
}

func (r *reader) u8() byte {
	if b := r.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (r *reader) u16() uint16 {
	if b := r.take(2); b != nil {
		return binary.BigEndian.Uint16(b)
	}
	return 0
}

func (r *reader) u24() uint32 {
	if b := r.take(3); b != nil {
		return uint32(b[0])<<16 | uint32(b[1])<<8 | uint32(b[2])
	}
	return 0
}

func (r *reader) u32() uint32 {
	if b := r.take(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

func (r *reader) u64() uint64 {
	if b := r.take(8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}
