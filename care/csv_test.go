package care

import (
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
)

func TestRows(t *testing.T) {
	table, err := openTable(strings.NewReader("编号,姓名,地址\n1,王秀英,\"安宁路 3 号\n后院\"\n2,李\x1f强,路\n3,,\n"), EncodingAuto)
	if err != nil {
		t.Fatal(err)
	}
	first, err := table.next()
	if err != nil {
		t.Fatal(err)
	}
	if again := first.pack().unpack(); again.line != 2 || !slices.Equal(again.cells, first.cells) || len(again.cells) != 3 {
		t.Errorf("packed and unpacked, %+v is %+v", first, again)
	}
	var bad *badRow
	if _, err := table.next(); !errors.As(err, &bad) || bad.row.line != 4 || !strings.Contains(bad.reason, "U+001F") {
		t.Errorf("a cell with the separator of packed rows gives %v", err)
	}
	last, err := table.next()
	if err != nil {
		t.Fatal(err)
	}
	if again := last.pack().unpack(); !slices.Equal(again.cells, []string{"3", "", ""}) {
		t.Errorf("a row with empty cells becomes %q", again.cells)
	}
	if _, err := table.next(); !errors.Is(err, io.EOF) {
		t.Errorf("after the last row: %v", err)
	}
}
