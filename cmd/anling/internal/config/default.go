package config

import "time"

// Default is every setting as configs/anling.yml shows it.
func Default() Config {
	return Config{
		DataDir:  "data",
		District: District{Name: "安铃演示区", Code: "990100", PhoneAreaCode: "0871", TimeZone: "Asia/Shanghai"},
		Log:      Log{Level: "info", Format: "json"},
		HTTP:     HTTP{Listen: "127.0.0.1:8080", SessionTTL: 12 * time.Hour},
		SIP: SIP{
			Listen: "127.0.0.1:5060", Realm: "anling", SOSNumbers: []string{}, Trunks: []Trunk{},
			RingTimeout: time.Minute,
		},
		Media: Media{PortMin: 20000, PortMax: 29999},
		CallCentre: CallCentre{
			RingTimeout: 15 * time.Second, SOSRingTimeout: 8 * time.Second, WrapUp: 15 * time.Second,
			CallbackSOS: 30 * time.Second, Callback: 3 * time.Minute, VoiceExpect: time.Minute, Drain: 20 * time.Second,
		},
		SOS: SOS{
			GT06: "127.0.0.1:5023", Watch: "127.0.0.1:5093", MaxConns: 100000, MaxPerIP: 200,
			LoginDeadline: 10 * time.Second, FrameDeadline: 20 * time.Second,
		},
		Dispatch: Dispatch{AnswerBy: 10 * time.Second, OfferAtOnce: true, RadiusM: 5000},
		Storage: Storage{
			Engine: "sqlite", Readers: 4, BatchMax: 256, Checkpoint: time.Second,
			ReserveMB: 256, NoStandby: "degrade",
		},
		NATS:   NATS{Mode: "embedded", Listen: "127.0.0.1:4222", MaxStoreMB: 4096},
		Live:   Live{Engine: "memory", Addrs: []string{}},
		Backup: Backup{At: "03:30", Keep: 14},
	}
}
