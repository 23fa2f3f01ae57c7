package config

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// checker gathers what is wrong, so that all of it is said at once.
type checker struct{ problems []Problem }

func (k *checker) bad(key, format string, args ...any) {
	k.problems = append(k.problems, Problem{Key: key, Text: fmt.Sprintf(format, args...)})
}

func (k *checker) oneOf(key, value string, allowed ...string) {
	if !slices.Contains(allowed, value) {
		k.bad(key, "%q is not one of %s", value, strings.Join(allowed, ", "))
	}
}

func (k *checker) within(key string, n, low, high int) {
	if n < low || n > high {
		k.bad(key, "%d is not within %d to %d", n, low, high)
	}
}

func (k *checker) between(key string, d, low, high time.Duration) {
	if d < low || d > high {
		k.bad(key, "%s is not within %s to %s", d, low, high)
	}
}

// address checks host:port; empty is allowed when the door may be closed.
func (k *checker) address(key, value string, mayBeEmpty bool) {
	if value == "" {
		if !mayBeEmpty {
			k.bad(key, "is empty, want host:port")
		}
		return
	}
	_, port, err := net.SplitHostPort(value)
	if err != nil {
		k.bad(key, "%q is not host:port", value)
		return
	}
	if n, err := strconv.Atoi(port); err != nil || n < 0 || n > 65535 {
		k.bad(key, "port %q is not within 0 to 65535", port)
	}
}

// file checks that a named file is there; its content is for who opens it.
func (k *checker) file(key, path string) {
	if path == "" {
		return
	}
	if st, err := os.Stat(path); err != nil {
		k.bad(key, "%s", err.Error())
	} else if st.IsDir() {
		k.bad(key, "%s is a directory", path)
	}
}

// check returns every bad value, named by its key.
func (c Config) check() []Problem {
	k := &checker{}
	if c.DataDir == "" {
		k.bad("data_dir", "is empty")
	}
	c.checkDistrict(k)
	k.oneOf("log.level", c.Log.Level, "debug", "info", "warn", "error")
	k.oneOf("log.format", c.Log.Format, "json", "console")
	c.checkHTTP(k)
	c.checkSIP(k)
	c.checkMedia(k)
	c.checkClocks(k)
	c.checkDoors(k)
	c.checkStorage(k)
	c.checkBus(k)
	if c.Backup.At != "" {
		if _, err := time.Parse("15:04", c.Backup.At); err != nil {
			k.bad("backup.at", "%q is not a time of day such as 03:30", c.Backup.At)
		}
	}
	k.within("backup.keep", c.Backup.Keep, 1, 3650)
	return k.problems
}

var (
	districtCode  = regexp.MustCompile(`^(\d{2}|\d{4}|\d{6}|\d{9}|\d{12})$`)
	phoneAreaCode = regexp.MustCompile(`^0\d{2,3}$`)
)

func (c Config) checkDistrict(k *checker) {
	if !districtCode.MatchString(c.District.Code) {
		k.bad("district.code", "%q is not an area code of 2, 4, 6, 9 or 12 digits", c.District.Code)
	}
	if !phoneAreaCode.MatchString(c.District.PhoneAreaCode) {
		k.bad("district.phone_area_code", "%q is not 0 and two or three digits", c.District.PhoneAreaCode)
	}
	if _, err := time.LoadLocation(c.District.TimeZone); err != nil {
		k.bad("district.time_zone", "%q is unknown", c.District.TimeZone)
	}
}

func (c Config) checkHTTP(k *checker) {
	k.address("http.listen", c.HTTP.Listen, false)
	if (c.HTTP.TLSCert == "") != (c.HTTP.TLSKey == "") {
		k.bad("http.tls_cert", "certificate and key are needed both, or none")
	}
	k.file("http.tls_cert", c.HTTP.TLSCert)
	k.file("http.tls_key", c.HTTP.TLSKey)
	if c.HTTP.PublicURL != "" {
		if u, err := url.Parse(c.HTTP.PublicURL); err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
			k.bad("http.public_url", "%q is not a URL such as https://anling.example", c.HTTP.PublicURL)
		}
	}
	k.between("http.session_ttl", c.HTTP.SessionTTL, 5*time.Minute, 30*24*time.Hour)
}

func (c Config) checkSIP(k *checker) {
	k.address("sip.listen", c.SIP.Listen, true)
	if host, _, err := net.SplitHostPort(c.SIP.Listen); err == nil {
		if a, err := netip.ParseAddr(host); err != nil || a.IsUnspecified() {
			k.bad("sip.listen", "%q: want an explicit IP address, one listener per address", c.SIP.Listen)
		}
	}
	if c.SIP.Advertise != "" {
		if _, err := netip.ParseAddr(c.SIP.Advertise); err != nil {
			k.bad("sip.advertise", "%q is not an IP address", c.SIP.Advertise)
		}
	}
	if c.SIP.Realm == "" || strings.ContainsAny(c.SIP.Realm, "\"\r\n") {
		k.bad("sip.realm", "%q is empty or has a quote or line end", c.SIP.Realm)
	}
	k.between("sip.ring_timeout", c.SIP.RingTimeout, 5*time.Second, 3*time.Minute)
	names := map[string]bool{}
	for i, t := range c.SIP.Trunks {
		t.check(k, fmt.Sprintf("sip.trunks[%d]", i))
		if names[t.Name] {
			k.bad(fmt.Sprintf("sip.trunks[%d].name", i), "%q names two trunks", t.Name)
		}
		names[t.Name] = true
	}
}

func (t Trunk) check(k *checker, key string) {
	if t.Name == "" {
		k.bad(key+".name", "is empty")
	}
	if len(t.Peers) == 0 && t.Target == "" {
		k.bad(key, "names neither peers nor a target")
	}
	for _, p := range t.Peers {
		if _, err := netip.ParseAddr(p); err != nil {
			if _, err := netip.ParsePrefix(p); err != nil {
				k.bad(key+".peers", "%q is neither an IP address nor a prefix", p)
			}
		}
	}
	if t.Target != "" {
		k.address(key+".target", t.Target, false)
	}
	k.oneOf(key+".transport", t.Transport, "", "udp", "tcp")
}

func (c Config) checkMedia(k *checker) {
	if c.Media.IP != "" {
		if _, err := netip.ParseAddr(c.Media.IP); err != nil {
			k.bad("media.ip", "%q is not an IP address", c.Media.IP)
		}
	}
	k.within("media.port_min", c.Media.PortMin, 1024, 65534)
	k.within("media.port_max", c.Media.PortMax, c.Media.PortMin+3, 65535)
}

func (c Config) checkClocks(k *checker) {
	cc := c.CallCentre
	k.between("callcenter.ring_timeout", cc.RingTimeout, 5*time.Second, 2*time.Minute)
	k.between("callcenter.sos_ring_timeout", cc.SOSRingTimeout, 3*time.Second, time.Minute)
	// Zero is the call centre's word for its default, so it cannot be asked for here.
	k.between("callcenter.wrap_up", cc.WrapUp, time.Millisecond, 10*time.Minute)
	k.between("callcenter.callback_sos", cc.CallbackSOS, time.Millisecond, 5*time.Minute)
	k.between("callcenter.callback", cc.Callback, time.Millisecond, time.Hour)
	k.between("callcenter.voice_expect", cc.VoiceExpect, 0, 5*time.Minute)
	k.between("callcenter.drain", cc.Drain, 0, 30*time.Minute)
	k.between("dispatch.answer_by", c.Dispatch.AnswerBy, time.Second, 5*time.Minute)
	k.within("dispatch.radius_m", c.Dispatch.RadiusM, 100, 100000)
}

func (c Config) checkDoors(k *checker) {
	k.address("sos.gt06_listen", c.SOS.GT06, true)
	k.address("sos.watch_listen", c.SOS.Watch, true)
	k.within("sos.max_connections", c.SOS.MaxConns, 1, 1000000)
	k.within("sos.max_per_ip", c.SOS.MaxPerIP, 1, 1000000)
	k.between("sos.login_deadline", c.SOS.LoginDeadline, time.Second, 5*time.Minute)
	k.between("sos.frame_deadline", c.SOS.FrameDeadline, time.Second, 5*time.Minute)
}

func (c Config) checkStorage(k *checker) {
	k.oneOf("storage.engine", c.Storage.Engine, "sqlite", "postgres")
	if c.Storage.Engine == "postgres" && c.Storage.DSNFile == "" {
		k.bad("storage.dsn_file", "is empty, postgres needs it")
	}
	k.file("storage.dsn_file", c.Storage.DSNFile)
	k.within("storage.readers", c.Storage.Readers, 1, 64)
	k.within("storage.batch_max", c.Storage.BatchMax, 1, 4096)
	k.between("storage.checkpoint", c.Storage.Checkpoint, 100*time.Millisecond, time.Minute)
	k.within("storage.reserve_mb", c.Storage.ReserveMB, 0, 100000)
	k.oneOf("storage.when_no_standby", c.Storage.NoStandby, "degrade", "refuse")
}

func (c Config) checkBus(k *checker) {
	k.oneOf("nats.mode", c.NATS.Mode, "embedded", "external")
	k.address("nats.listen", c.NATS.Listen, true)
	if c.NATS.Mode == "external" && c.NATS.URL == "" {
		k.bad("nats.url", "is empty, the external mode needs it")
	}
	k.file("nats.credentials_file", c.NATS.CredFile)
	k.within("nats.max_store_mb", c.NATS.MaxStoreMB, 16, 1<<20)
	k.oneOf("live.engine", c.Live.Engine, "memory", "redis")
	if c.Live.Engine == "redis" && len(c.Live.Addrs) == 0 {
		k.bad("live.redis_addrs", "is empty, redis needs at least one host:port")
	}
	k.file("live.redis_password_file", c.Live.PasswordFile)
}
