// Package config is every setting of the server: its type, its default, its check.
// configs/anling.yml shows them all with a comment; a test keeps the two equal.
package config

import "time"

// Config is the whole configuration. Nothing listens beyond this machine until
// it is told to.
type Config struct {
	DataDir    string     `yaml:"data_dir"`
	SecretsDir string     `yaml:"secrets_dir"`
	District   District   `yaml:"district"`
	Log        Log        `yaml:"log"`
	HTTP       HTTP       `yaml:"http"`
	SIP        SIP        `yaml:"sip"`
	Media      Media      `yaml:"media"`
	Recording  Recording  `yaml:"recording"`
	CallCentre CallCentre `yaml:"callcenter"`
	SOS        SOS        `yaml:"sos"`
	Dispatch   Dispatch   `yaml:"dispatch"`
	Storage    Storage    `yaml:"storage"`
	NATS       NATS       `yaml:"nats"`
	Live       Live       `yaml:"live"`
	Backup     Backup     `yaml:"backup"`
}

// District is whom the server serves.
type District struct {
	Name          string `yaml:"name"`
	Code          string `yaml:"code"`
	PhoneAreaCode string `yaml:"phone_area_code"`
	TimeZone      string `yaml:"time_zone"`
}

// Log says how much is written, and how.
type Log struct {
	Level  string `yaml:"level"`
	Format string `yaml:"format"`
}

// HTTP is the door of pages and API.
type HTTP struct {
	Listen     string        `yaml:"listen"`
	TLSCert    string        `yaml:"tls_cert"`
	TLSKey     string        `yaml:"tls_key"`
	PublicURL  string        `yaml:"public_url"`
	SessionTTL time.Duration `yaml:"session_ttl"`
}

// SIP is the door of trunks and desk phones.
type SIP struct {
	Listen      string        `yaml:"listen"`
	Advertise   string        `yaml:"advertise"`
	Realm       string        `yaml:"realm"`
	Trunks      []Trunk       `yaml:"trunks"`
	SOSNumbers  []string      `yaml:"sos_numbers"`
	Hotline     string        `yaml:"hotline"`
	RingTimeout time.Duration `yaml:"ring_timeout"`
}

// Trunk is a carrier's peer.
type Trunk struct {
	Name      string   `yaml:"name"`
	Peers     []string `yaml:"peers"`
	Target    string   `yaml:"target"`
	Transport string   `yaml:"transport"`
	TrustPAI  bool     `yaml:"trust_identity"`
	CallerID  string   `yaml:"caller_id"`
}

// Media is the RTP side.
type Media struct {
	IP      string `yaml:"ip"`
	PortMin int    `yaml:"port_min"`
	PortMax int    `yaml:"port_max"`
	Prompts string `yaml:"prompts"`
}

// Recording says where calls are kept.
type Recording struct {
	Dir string `yaml:"dir"`
}

// CallCentre is how calls wait and are answered.
type CallCentre struct {
	RingTimeout    time.Duration `yaml:"ring_timeout"`
	SOSRingTimeout time.Duration `yaml:"sos_ring_timeout"`
	WrapUp         time.Duration `yaml:"wrap_up"`
	CallbackSOS    time.Duration `yaml:"callback_sos"`
	Callback       time.Duration `yaml:"callback"`
	VoiceExpect    time.Duration `yaml:"voice_expect"`
	Drain          time.Duration `yaml:"drain"`
}

// SOS is the doors of devices.
type SOS struct {
	GT06          string        `yaml:"gt06_listen"`
	Watch         string        `yaml:"watch_listen"`
	MaxConns      int           `yaml:"max_connections"`
	MaxPerIP      int           `yaml:"max_per_ip"`
	LoginDeadline time.Duration `yaml:"login_deadline"`
	FrameDeadline time.Duration `yaml:"frame_deadline"`
}

// Dispatch is the clocks of incidents and offers.
type Dispatch struct {
	AnswerBy    time.Duration `yaml:"answer_by"`
	OfferAtOnce bool          `yaml:"offer_at_once"`
	RadiusM     int           `yaml:"radius_m"`
}

// Storage is where the truth is.
type Storage struct {
	Engine     string        `yaml:"engine"`
	DSNFile    string        `yaml:"dsn_file"`
	JournalDir string        `yaml:"journal_dir"`
	Readers    int           `yaml:"readers"`
	BatchMax   int           `yaml:"batch_max"`
	Checkpoint time.Duration `yaml:"checkpoint"`
	UnsafeFS   bool          `yaml:"allow_unsafe_filesystem"`
	ReserveMB  int           `yaml:"reserve_mb"`
	NoStandby  string        `yaml:"when_no_standby"`
}

// NATS is how facts reach others.
type NATS struct {
	Mode       string `yaml:"mode"`
	Listen     string `yaml:"listen"`
	URL        string `yaml:"url"`
	CredFile   string `yaml:"credentials_file"`
	MaxStoreMB int    `yaml:"max_store_mb"`
}

// Live is where positions and presence are.
type Live struct {
	Engine       string   `yaml:"engine"`
	Addrs        []string `yaml:"redis_addrs"`
	Username     string   `yaml:"redis_username"`
	PasswordFile string   `yaml:"redis_password_file"`
}

// Backup is the nightly copy.
type Backup struct {
	Dir  string `yaml:"dir"`
	At   string `yaml:"at"`
	Keep int    `yaml:"keep"`
}
