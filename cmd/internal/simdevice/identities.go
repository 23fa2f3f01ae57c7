package simdevice

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
)

// columns are the names under which lists of devices carry what is needed here.
var columns = map[string][]string{
	"protocol": {"protocol", "协议"},
	"id":       {"device_id", "external_id", "device", "id", "设备号", "设备编号", "设备id"},
	"number":   {"number", "sim_number", "sim", "telephone", "phone", "电话", "电话号码", "手机号", "sim卡号"},
}

// ReadIdentities reads the devices of a protocol known here from a list like those
// that the server imports: CSV in UTF-8 with a header.
func ReadIdentities(path string) ([]Identity, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("list of devices: %w", err)
	}
	defer f.Close()
	return readIdentities(f, path)
}

func readIdentities(r io.Reader, path string) ([]Identity, error) {
	c := csv.NewReader(r)
	c.FieldsPerRecord = -1
	head, err := c.Read()
	if err != nil {
		return nil, fmt.Errorf("%s: header: %w", path, err)
	}
	at := map[string]int{"protocol": -1, "id": -1, "number": -1}
	for i, name := range head {
		name = strings.ToLower(strings.TrimSpace(strings.TrimPrefix(name, "\ufeff")))
		for column, names := range columns {
			if slices.Contains(names, name) && at[column] < 0 {
				at[column] = i
			}
		}
	}
	if at["protocol"] < 0 || at["id"] < 0 {
		return nil, fmt.Errorf("%s: the header %q names no protocol or no device id", path, head)
	}
	var all []Identity
	for {
		row, err := c.Read()
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		field := func(column string) string {
			if i := at[column]; i >= 0 && i < len(row) {
				return strings.TrimSpace(row[i])
			}
			return ""
		}
		d := Identity{Protocol: strings.ToLower(field("protocol")), ID: field("id"), Number: field("number")}
		if (d.Protocol == GT06 || d.Protocol == Watch) && d.ID != "" {
			all = append(all, d)
		}
	}
}
