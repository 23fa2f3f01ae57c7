package care

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"strings"
)

// recordRows are the devices, providers or responders of one commit.
const recordRows = 50

// recordImport is the import of a kind of record of which there are thousands, not
// hundreds of thousands.
type recordImport[T any] struct {
	columns  []column[T]
	required []string
	check    func(*T) error
	// put finds the record that a row is about and saves it, applied to it by fill.
	// It tells "added", "changed" or "unchanged".
	put func(tx Tx, row T, fill func(*T) error, actor string) (string, error)
	key func(T) string // what two rows of one file may not share
}

func importRecords[T any](ctx context.Context, m *importing, k recordImport[T]) error {
	columns, unknown, err := setters(k.columns, m.table)
	if err != nil {
		return err
	}
	if err := require(columns, k.columns, k.required...); err != nil {
		return err
	}
	m.report.Ignored = unknown
	lines := map[string]int{}
	type item struct {
		line row
		rec  T
	}
	var chunk []item
	done := 0
	flush := func() error {
		results := make([]string, len(chunk))
		errs := make([]error, len(chunk))
		err := m.r.store.Change(ctx, func(tx Tx) error {
			for i, it := range chunk {
				fill := func(t *T) error {
					if at, err := apply(columns, t, it.line); err != nil {
						return Invalid(columns[at].name, "%s", err.Error())
					}
					return k.check(t)
				}
				results[i], errs[i] = k.put(tx, it.rec, fill, m.o.Actor)
				if ce := (*Error)(nil); errs[i] != nil && !errors.As(errs[i], &ce) {
					return errs[i]
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		for i, it := range chunk {
			switch {
			case errs[i] != nil:
				m.reject(it.line, columnOf(columns, errs[i]), errs[i])
			case results[i] == "added":
				m.report.Added++
			case results[i] == "changed":
				m.report.Changed++
			default:
				m.report.Unchanged++
			}
		}
		if done += len(chunk); m.o.Progress != nil {
			m.o.Progress(done)
		}
		chunk = chunk[:0]
		return nil
	}
	err = m.each(func(line row) error {
		var t T
		if at, err := apply(columns, &t, line); err != nil {
			m.reject(line, at, err)
			return nil
		}
		if err := k.check(&t); err != nil {
			m.reject(line, columnOf(columns, err), err)
			return nil
		}
		if key := k.key(t); key == "" {
			m.reject(line, -1, Invalid("", "needs a key (编号), so that the row can be imported again"))
			return nil
		} else if first, twice := lines[key]; twice {
			m.reject(line, -1, Invalid("", "the same record as in line %d", first))
			return nil
		} else {
			lines[key] = line.line
		}
		if chunk = append(chunk, item{line, t}); len(chunk) == recordRows {
			return flush()
		}
		return nil
	})
	if len(chunk) > 0 {
		err = cmp.Or(flush(), err)
	}
	return err
}

// equal compares two records as they are stored.
func equal(a, b any) bool {
	x, errX := json.Marshal(a)
	y, errY := json.Marshal(b)
	return errX == nil && errY == nil && string(x) == string(y)
}

// deviceDraft is a device with what its row says of its elder.
type deviceDraft struct {
	Device
	elderKey, elderID string
}

func (r *Registry) deviceImport() recordImport[deviceDraft] {
	type d = deviceDraft
	t := text[d]
	kinds := map[string]string{"呼叫器": "pendant", "吊坠": "pendant", "手表": "watch", "手环": "watch", "固定按钮": "fixed_button", "拉绳": "pull_cord", "电话": "phone", "烟感": "smoke", "燃气": "gas", "门磁": "door", "床垫": "bed", "网关": "gateway"}
	states := map[string]string{"库存": "stock", "在用": "active", "故障": "faulty", "丢失": "lost", "退回": "returned"}
	columns := []column[d]{
		{"protocol", []string{"协议"}, t(func(x *d) *string { return &x.Protocol })},
		{"external_id", []string{"设备号", "设备编号", "设备id", "imei"}, t(func(x *d) *string { return &x.ExternalID })},
		{"sim_number", []string{"电话号码", "设备电话", "sim卡号", "卡号"}, t(func(x *d) *string { return &x.SIMNumber })},
		{"kind", []string{"设备类型", "类型"}, word(func(x *d) *string { return &x.Kind }, kinds)},
		{"model", []string{"型号"}, t(func(x *d) *string { return &x.Model })},
		{"profile", []string{"型号配置"}, t(func(x *d) *string { return &x.Profile })},
		{"class", []string{"监护类别"}, t(func(x *d) *string { return &x.Class })},
		{"state", []string{"状态"}, word(func(x *d) *string { return &x.State }, states)},
		{"room", []string{"房间"}, t(func(x *d) *string { return &x.Room })},
		{"facility_id", []string{"机构编号"}, t(func(x *d) *string { return &x.FacilityID })},
		{"datum", []string{"坐标系"}, t(func(x *d) *string { return &x.Datum })},
		{"heartbeat_sec", []string{"心跳秒数"}, func(x *d, s string) (err error) {
			if x.HeartbeatSec, err = strconv.Atoi(s); err != nil {
				return Invalid("", "%q is not a number of seconds", s)
			}
			return nil
		}},
		{"elder_key", []string{"老人编号"}, t(func(x *d) *string { return &x.elderKey })},
		{"elder_id_number", []string{"老人身份证号", "身份证号", "使用人身份证号"}, t(func(x *d) *string { return &x.elderID })},
	}
	return recordImport[d]{columns: columns, required: []string{"protocol"},
		check: func(x *d) error { return r.checkDevice(&x.Device) },
		key:   func(x d) string { return x.Protocol + ":" + x.ExternalID },
		put: func(tx Tx, x d, fill func(*d) error, actor string) (string, error) {
			old, err := tx.DeviceByExternal(x.Protocol, x.ExternalID)
			if err != nil && !errors.Is(err, ErrNotFound) {
				return "", err
			}
			now := d{Device: old}
			if err := fill(&now); err != nil {
				return "", err
			}
			if err := r.elderOf(tx, &now); err != nil {
				return "", err
			}
			if old.ID != "" && equal(old, now.Device) {
				return "unchanged", nil
			}
			if old.ID == "" {
				now.ID = NewID[DeviceID]()
			}
			return addedOr(old.ID == ""), r.putDevice(tx, now.Device, old.Version, actor)
		}}
}

func addedOr(fresh bool) string {
	if fresh {
		return "added"
	}
	return "changed"
}

// elderOf finds the elder whom a device's row names.
func (r *Registry) elderOf(tx Tx, x *deviceDraft) error {
	field, ident := "elder_key", ""
	switch {
	case x.elderKey != "":
		ident = keyIdent("", x.elderKey)
	case x.elderID != "":
		field = "elder_id_number"
		id, err := ParseIDNumber(x.elderID, r.o.Now(), r.o.Demo)
		if err != nil {
			return Invalid(field, "%s", err.Error())
		}
		if r.vault == nil {
			return errNoKey
		}
		ident = r.idIdent(id.Number)
	default:
		return nil
	}
	owner, err := tx.IdentOwner(ident)
	if err != nil {
		return err
	}
	if owner == "" {
		return Invalid(field, "no elder has this %s", identName(ident))
	}
	x.ElderID = owner
	return nil
}

func (r *Registry) providerImport() recordImport[Provider] {
	t := text[Provider]
	classes := map[string]string{"护理": "care_firm", "养老服务": "care_firm", "食堂": "canteen", "餐饮": "catering", "家政": "housekeeping", "维修": "repair", "药店": "pharmacy", "商超": "supermarket", "医疗": "medical", "康复": "rehab", "社工": "social_work", "志愿": "volunteer", "物业": "property", "其他": "other"}
	columns := []column[Provider]{
		{"external_key", []string{"编号", "服务商编号"}, t(func(p *Provider) *string { return &p.ExternalKey })},
		{"name", []string{"名称", "服务商名称", "单位名称"}, t(func(p *Provider) *string { return &p.Name })},
		{"uscc", []string{"统一社会信用代码", "信用代码"}, t(func(p *Provider) *string { return &p.USCC })},
		{"class", []string{"类别", "服务类别"}, word(func(p *Provider) *string { return &p.Class }, classes)},
		{"phone", []string{"电话", "联系电话"}, t(func(p *Provider) *string { return &p.Phone })},
		{"areas", []string{"服务区域"}, func(p *Provider, s string) error {
			p.Areas = nil
			for _, a := range split(s) {
				p.Areas = append(p.Areas, AreaCode(strings.TrimSpace(a)))
			}
			return nil
		}},
		{"state", []string{"状态"}, word(func(p *Provider) *string { return &p.State }, map[string]string{"正常": "active", "暂停": "suspended", "关闭": "closed"})},
	}
	check := func(p *Provider) error {
		if err := r.checkProvider(p); err != nil {
			return err
		}
		p.ExternalKey = cmp.Or(p.ExternalKey, p.USCC, p.Name)
		return nil
	}
	return recordImport[Provider]{columns: columns, required: []string{"name"}, check: check,
		key: func(p Provider) string { return p.ExternalKey },
		put: func(tx Tx, p Provider, fill func(*Provider) error, actor string) (string, error) {
			old, err := tx.ProviderByKey(p.ExternalKey)
			if err != nil && !errors.Is(err, ErrNotFound) {
				return "", err
			}
			now := old
			if err := fill(&now); err != nil {
				return "", err
			}
			if old.ID != "" && equal(old, now) {
				return "unchanged", nil
			}
			if old.ID == "" {
				now.ID = NewID[ProviderID]()
			}
			return addedOr(old.ID == ""), r.putProvider(tx, now, old.Version, actor)
		}}
}

// responderDraft is a responder with what its row says of the provider.
type responderDraft struct {
	Responder
	provider string
}

func (r *Registry) responderImport() recordImport[responderDraft] {
	type d = responderDraft
	t := text[d]
	kinds := map[string]string{"救助": "rescue", "救援": "rescue", "护理员": "carer", "护士": "nurse", "医生": "doctor", "社工": "social_worker", "维修": "repairer", "保洁": "cleaner", "送餐": "meal_runner", "志愿者": "volunteer", "楼栋长": "building_leader", "居民小组长": "group_leader", "社区工作者": "community_staff"}
	skills := map[string]string{"急救": "first_aid", "心肺复苏": "cpr", "除颤": "aed", "搬抬": "lift_two", "助浴": "bathing", "失智照护": "dementia", "注射": "injection", "导尿": "catheter", "吸氧": "oxygen", "电工": "electrics", "水暖": "plumbing", "燃气": "gas", "开锁": "lock", "驾驶": "driving", "手语": "sign"}
	columns := []column[d]{
		{"external_key", []string{"编号", "工号"}, t(func(x *d) *string { return &x.ExternalKey })},
		{"name", []string{"姓名"}, t(func(x *d) *string { return &x.Name })},
		{"kind", []string{"类别", "人员类别", "岗位"}, word(func(x *d) *string { return &x.Kind }, kinds)},
		{"provider", []string{"服务商编号", "服务商", "单位"}, t(func(x *d) *string { return &x.provider })},
		{"phone", []string{"电话", "手机", "联系电话"}, list(func(x *d) *[]string { return &x.Phones }, nil)},
		{"sex", []string{"性别"}, word(func(x *d) *string { return &x.Sex }, sexWords)},
		{"dialects", []string{"语言", "方言"}, list(func(x *d) *[]string { return &x.Dialects }, dialectWords)},
		{"skills", []string{"技能"}, list(func(x *d) *[]string { return &x.Skills }, skills)},
		{"certificates", []string{"证书"}, applyCertificates},
		{"duty", []string{"在岗"}, word(func(x *d) *string { return &x.Duty }, map[string]string{"在岗": "on", "离岗": "off", "暂停": "paused", "是": "on", "否": "off"})},
		{"lat", []string{"纬度"}, decimal(func(x *d, v float64) { x.Base.Lat = v })},
		{"lng", []string{"经度"}, decimal(func(x *d, v float64) { x.Base.Lng = v })},
		{"mode", []string{"出行方式"}, word(func(x *d) *string { return &x.Mode }, map[string]string{"步行": "walk", "电动车": "ebike", "汽车": "drive", "驾车": "drive"})},
		{"home_area", []string{"区划代码", "所在社区"}, func(x *d, s string) error { x.HomeArea = AreaCode(s); return nil }},
	}
	check := func(x *d) error {
		if err := r.checkResponder(&x.Responder); err != nil {
			return err
		}
		if p := x.Base; p.Lat < -90 || p.Lat > 90 || p.Lng < -180 || p.Lng > 180 {
			return Invalid("lat", "%g, %g is no point on earth", p.Lat, p.Lng)
		}
		if x.ExternalKey == "" && len(x.Phones) > 0 {
			x.ExternalKey = x.Phones[0]
		}
		return nil
	}
	return recordImport[d]{columns: columns, required: []string{"name"}, check: check,
		key: func(x d) string { return x.ExternalKey },
		put: func(tx Tx, x d, fill func(*d) error, actor string) (string, error) {
			old, err := tx.ResponderByKey(x.ExternalKey)
			if err != nil && !errors.Is(err, ErrNotFound) {
				return "", err
			}
			now := d{Responder: old}
			if err := fill(&now); err != nil {
				return "", err
			}
			if now.provider != "" {
				p, err := tx.ProviderByKey(now.provider)
				if errors.Is(err, ErrNotFound) {
					return "", Invalid("provider", "no provider has the key %s: import the providers first", now.provider)
				}
				if err != nil {
					return "", err
				}
				now.ProviderID = p.ID
			}
			if old.ID != "" {
				now.Duty = old.Duty // who is on duty is no matter of a list
			}
			if old.ID == "" {
				now.ID = NewID[ResponderID]()
				return "added", r.putResponder(tx, now.Responder, nil, actor)
			}
			if equal(old, now.Responder) {
				return "unchanged", nil
			}
			return "changed", r.putResponder(tx, now.Responder, &old, actor)
		}}
}

// applyCertificates reads kind:number:until, several parted by semicolons.
func applyCertificates(x *responderDraft, s string) error {
	x.Certificates = nil
	for _, part := range split(s) {
		f := strings.Split(strings.ReplaceAll(strings.TrimSpace(part), "：", ":"), ":")
		c := Certificate{Kind: f[0]}
		if len(f) > 1 {
			c.Number = f[1]
		}
		if len(f) > 2 && f[2] != "" {
			until, err := parseDate(f[2])
			if err != nil {
				return err
			}
			c.Until = until
		}
		if !slices.Contains(x.Certificates, c) {
			x.Certificates = append(x.Certificates, c)
		}
	}
	return nil
}
