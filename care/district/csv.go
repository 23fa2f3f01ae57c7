package district

import (
	"bufio"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"anling/care"
)

// table writes a header and rows.
func table(w io.Writer, header []string, rows func(put func(...string)) error) error {
	b := bufio.NewWriterSize(w, 64<<10)
	c := csv.NewWriter(b)
	if err := c.Write(header); err != nil {
		return err
	}
	var werr error
	err := rows(func(cells ...string) {
		if werr == nil {
			werr = c.Write(cells)
		}
	})
	c.Flush()
	return errors.Join(err, werr, c.Error(), b.Flush())
}

func yesNo(b bool) string {
	if b {
		return "是"
	}
	return "否"
}

func coordinate(v float64) string { return strconv.FormatFloat(v, 'f', 7, 64) }

// contactColumns are the contacts of one row of the file.
const contactColumns = 4

// WriteElders writes the elders as a CSV that the registry imports.
func (d *District) WriteElders(w io.Writer) error {
	header := []string{"编号", "姓名", "性别", "出生日期", "身份证号", "区划代码", "地址", "单元楼层房号", "电梯", "进门说明", "纬度", "经度", "居住状况", "标签", "能力等级",
		"疾病史", "用药", "过敏史", "血型", "吸氧", "助行器具", "常去医院", "语言", "普通话水平", "听力", "钥匙盒", "门禁密码", "同意破门", "风险提示", "电话", "同意事项"}
	for n := range contactColumns {
		header = append(header, fmt.Sprintf("联系人%d", n+1), fmt.Sprintf("联系人%d关系", n+1), fmt.Sprintf("联系人%d电话", n+1), fmt.Sprintf("联系人%d持钥匙", n+1))
	}
	return table(w, header, func(put func(...string)) error {
		cells := make([]string, 0, len(header))
		for e := range d.Elders() {
			cells = elderCells(cells[:0], e)
			put(cells...)
		}
		return nil
	})
}

func elderCells(cells []string, e care.Elder) []string {
	var tags, purposes []string
	for _, t := range e.Tags {
		tags = append(tags, t.Code)
	}
	for _, c := range e.Consents {
		purposes = append(purposes, c.Purpose)
	}
	join := func(all []string) string { return strings.Join(all, ";") }
	cells = append(cells, e.ExternalKey, e.Name, e.Sex, e.BirthDate, e.IDNumber, string(e.AreaCode), e.Address, e.UnitFloorRoom, yesNo(*e.Lift), e.EntryNote,
		coordinate(e.Home.Lat), coordinate(e.Home.Lng), e.LivingState, join(tags), e.Ability, join(e.Health.Diagnoses), join(e.Health.Medication), join(e.Health.Allergies),
		e.Health.BloodType, yesNo(e.Health.Oxygen), e.Health.MobilityAid, e.Health.PreferredHospital, join(e.Communication.Dialects), e.Communication.Mandarin,
		e.Communication.Hearing, e.KeySafe, e.DoorCode, yesNo(e.ForcedEntry), e.RiskNotes, join(e.Phones), join(purposes))
	for n := range contactColumns {
		if n >= len(e.Contacts) {
			cells = append(cells, "", "", "", "")
			continue
		}
		c := e.Contacts[n]
		cells = append(cells, c.Name, c.Relation, join(c.Phones), yesNo(c.KeyHolder))
	}
	return cells
}

// WriteDevices writes the devices as a CSV that the registry imports.
func (d *District) WriteDevices(w io.Writer) error {
	return table(w, []string{"协议", "设备号", "电话号码", "类型", "型号", "监护类别", "老人编号"}, func(put func(...string)) error {
		for v := range d.Devices() {
			put(v.Protocol, v.ExternalID, v.SIMNumber, v.Kind, v.Model, v.Class, v.ElderKey)
		}
		return nil
	})
}

// WriteProviders writes the providers as a CSV that the registry imports.
func (d *District) WriteProviders(w io.Writer) error {
	return table(w, []string{"编号", "名称", "统一社会信用代码", "类别", "电话", "服务区域"}, func(put func(...string)) error {
		for _, p := range d.Providers() {
			areas := make([]string, len(p.Areas))
			for i, a := range p.Areas {
				areas[i] = string(a)
			}
			put(p.ExternalKey, p.Name, p.USCC, p.Class, p.Phone, strings.Join(areas, ";"))
		}
		return nil
	})
}

// WriteResponders writes the responders as a CSV that the registry imports.
func (d *District) WriteResponders(w io.Writer) error {
	return table(w, []string{"编号", "姓名", "类别", "服务商编号", "电话", "性别", "语言", "技能", "证书", "在岗", "纬度", "经度", "出行方式", "区划代码"}, func(put func(...string)) error {
		for _, p := range d.Responders() {
			var certificates []string
			for _, c := range p.Certificates {
				certificates = append(certificates, c.Kind+":"+c.Number+":"+c.Until)
			}
			put(p.ExternalKey, p.Name, p.Kind, p.ProviderKey, strings.Join(p.Phones, ";"), p.Sex, strings.Join(p.Dialects, ";"), strings.Join(p.Skills, ";"),
				strings.Join(certificates, ";"), p.Duty, coordinate(p.Base.Lat), coordinate(p.Base.Lng), p.Mode, string(p.HomeArea))
		}
		return nil
	})
}

// Fill puts the whole district into a registry, by the same import as any list;
// filling it again changes nothing.
func (d *District) Fill(ctx context.Context, r *care.Registry) error {
	if err := r.SaveAreas(ctx, d.Areas()); err != nil {
		return fmt.Errorf("fill areas: %w", err)
	}
	for _, part := range []struct {
		kind  string
		write func(io.Writer) error
	}{{care.ImportProviders, d.WriteProviders}, {care.ImportResponders, d.WriteResponders}, {care.ImportElders, d.WriteElders}, {care.ImportDevices, d.WriteDevices}} {
		if err := load(ctx, r, part.kind, part.write); err != nil {
			return fmt.Errorf("fill %s: %w", part.kind, err)
		}
	}
	return nil
}

// load runs writer and import together, so that nothing is held whole.
func load(ctx context.Context, r *care.Registry, kind string, write func(io.Writer) error) error {
	in, out := io.Pipe()
	written := make(chan error, 1)
	go func() {
		err := write(out)
		out.CloseWithError(err) //nolint:errcheck // never fails
		written <- err
	}()
	report, err := r.Import(ctx, kind, in, care.ImportOptions{Encoding: care.EncodingUTF8, Actor: "district"})
	in.CloseWithError(io.ErrClosedPipe) //nolint:errcheck // never fails
	if werr := <-written; err == nil && werr != nil {
		err = werr
	}
	if err != nil {
		return err
	}
	if report.Rejected > 0 {
		return fmt.Errorf("%d rows rejected, the first: %s", report.Rejected, report.Problems[0])
	}
	return nil
}
