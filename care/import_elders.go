package care

import (
	"cmp"
	"context"
	"errors"
	"hash/maphash"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"anling/event"
)

// Rows go through an import in lots. Those on their way to the registry wait in runs
// of ImportOptions.Run rows: about 2.5 KiB each, in two runs at most.
const (
	lotRows   = 8 << 10  // checked and looked up together
	runRows   = 32 << 10 // the default of ImportOptions.Run
	knownRows = lotRows  // changed elders that wait for their turn at most
)

// draft is a row on its way into the registry.
type draft struct {
	line  row
	row   ElderRow
	found ElderID // when it is there already
}

// newcomer is a draft that nobody knows yet, made small: many of them wait.
type newcomer struct {
	line packedRow
	NewElder
}

// run is what is written at a time: elders that are new, or known ones that changed.
type run struct {
	rows  int // of the file, those that need no writing too
	fresh []*newcomer
	known []*draft
}

// elderImport is one import of elders: three steps, each on its own, hand the rows
// on: read and check, look up and make ready, write.
type elderImport struct {
	*importing
	columns []*column[elderDraft]
	scratch elderDraft          // of the reading step
	spelled map[string]struct{} // names whose tokens the store has got
	seed    maphash.Seed
	idents  map[uint64]int32      // unique keys of the rows so far, and their lines
	persons map[uint64]seenPerson // likewise
	first   bool                  // the registry was empty: there is nobody to look up
	note    event.Event
}

type seenPerson struct {
	line   int32
	strong bool // had an ID number or a key
}

func (r *Registry) importElders(ctx context.Context, m *importing) error {
	columns, unknown, err := setters(elderColumns, m.table)
	if err != nil {
		return err
	}
	if err := require(columns, elderColumns, "name"); err != nil {
		return err
	}
	m.report.Ignored = unknown
	im := &elderImport{importing: m, columns: columns, spelled: map[string]struct{}{}, seed: maphash.MakeSeed(), idents: map[uint64]int32{}, persons: map[uint64]seenPerson{}}
	if im.first, err = r.store.NoElders(ctx); err != nil {
		return err
	}
	im.note = r.fact(EldersImported, "import", NewID[string](), 0, m.o.Actor, "", nil)
	g, ctx := errgroup.WithContext(ctx)
	checked, ready := make(chan []*draft), make(chan run)
	var readErr error
	g.Go(func() error {
		defer close(checked)
		readErr = im.read(ctx, checked)
		return ctx.Err() // what was read before a broken row is loaded
	})
	g.Go(func() error {
		defer close(ready)
		return im.prepare(ctx, checked, ready)
	})
	g.Go(func() error {
		done := 0
		for run := range ready {
			if err := im.write(ctx, run); err != nil {
				return err
			}
			if done += run.rows; m.o.Progress != nil {
				m.o.Progress(done)
			}
		}
		return nil
	})
	return cmp.Or(g.Wait(), readErr)
}

func send[T any](ctx context.Context, to chan<- T, v T) error {
	select {
	case to <- v:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// read checks the rows by themselves and against the ones before.
func (im *elderImport) read(ctx context.Context, to chan<- []*draft) error {
	lot := make([]*draft, 0, lotRows)
	err := im.each(func(line row) error {
		if d := im.check(line); d != nil {
			if lot = append(lot, d); len(lot) == lotRows {
				err := send(ctx, to, lot)
				lot = make([]*draft, 0, lotRows)
				return err
			}
		}
		return nil
	})
	if len(lot) > 0 {
		err = errors.Join(err, send(ctx, to, lot))
	}
	return err
}

// fill applies a row to a record and checks the whole.
func (im *elderImport) fill(d *elderDraft, line row) (int, error) {
	key := d.ExternalKey
	if i, err := apply(im.columns, d, line); err != nil {
		return i, err
	}
	if d.ExternalKey != key {
		d.Source = im.o.Source
	}
	err := d.finish()
	if err == nil {
		err = im.r.checkElder(&d.Elder)
	}
	if err != nil {
		return columnOf(im.columns, err), err
	}
	return -1, nil
}

func (im *elderImport) check(line row) *draft {
	im.scratch = elderDraft{}
	i, err := im.fill(&im.scratch, line)
	if err != nil {
		im.reject(line, i, err)
		return nil
	}
	e := &im.scratch.Elder
	strong := e.IDNumber != "" || e.ExternalKey != ""
	if !strong && (e.BirthDate == "" || e.AreaCode == "") {
		im.reject(line, -1, Invalid("", "needs an ID number, a key, or a birth date and an area beside the name: otherwise nobody can tell whether the person is here already"))
		return nil
	}
	d := &draft{line: line, row: ElderRow{Elder: *e}}
	if d.row.Idents, err = im.r.idents(e); err != nil {
		im.reject(line, columnOf(im.columns, Invalid("id_number", "")), err)
		return nil
	}
	if err := im.once(d, strong); err != nil {
		im.reject(line, columnOf(im.columns, err), err)
		return nil
	}
	d.row.Digest = im.r.digest(line.cells)
	im.ask(d)
	return d
}

// ask notes what is possible but odd about an ID number.
func (im *elderImport) ask(d *draft) {
	if d.row.Elder.IDType != "resident_id" || len(im.report.Questions) >= maxProblems {
		return
	}
	i := slices.IndexFunc(im.columns, func(c *column[elderDraft]) bool { return c != nil && c.name == "id_number" })
	if i < 0 {
		return
	}
	if id, err := ParseIDNumber(d.line.cells[i], im.r.o.Now(), im.r.o.Demo); err == nil {
		for _, q := range id.Questions {
			im.report.Questions = append(im.report.Questions, Problem{Line: d.line.line, Column: strings.TrimSpace(im.table.names[i]), Reason: q})
		}
	}
}

// once refuses a person who was in the file already.
func (im *elderImport) once(d *draft, strong bool) error {
	for _, ident := range d.row.Idents {
		if first, twice := im.idents[maphash.String(im.seed, ident)]; twice {
			return Invalid(identField(ident), "the same %s as in line %d", identName(ident), first)
		}
	}
	person := maphash.String(im.seed, personIdent(&d.row.Elder))
	if first, twice := im.persons[person]; twice && (!strong || !first.strong) && d.row.Elder.BirthDate != "" {
		return Invalid("name", "the same name, birth date and area as in line %d, and one of the two has no number: are they one person?", first.line)
	}
	im.persons[person] = seenPerson{int32(d.line.line), strong}
	for _, ident := range d.row.Idents {
		im.idents[maphash.String(im.seed, ident)] = int32(d.line.line)
	}
	return nil
}

func identField(ident string) string {
	switch kind, _, _ := strings.Cut(ident, ":"); kind {
	case "id":
		return "id_number"
	case "card":
		return "card_no"
	case "key":
		return "external_key"
	}
	return "name"
}

// prepare looks the rows up, and gathers those that are to be written into runs.
func (im *elderImport) prepare(ctx context.Context, from <-chan []*draft, to chan<- run) error {
	size := cmp.Or(im.o.Run, runRows)
	next := run{fresh: make([]*newcomer, 0, size)}
	flush := func() error {
		out := next
		next = run{fresh: make([]*newcomer, 0, size)}
		return send(ctx, to, out)
	}
	for lot := range from {
		next.rows += len(lot)
		owners, persons, err := im.lookUp(ctx, lot)
		if err != nil {
			return err
		}
		for _, d := range lot {
			if err := im.sort(d, &next, owners, persons); err != nil {
				im.reject(d.line, -1, err)
			}
			if len(next.fresh) == size || len(next.known) == knownRows {
				if err := flush(); err != nil {
					return err
				}
			}
		}
	}
	if next.rows == 0 {
		return nil
	}
	return flush()
}

// sort puts a row where it belongs: among the new ones, among the known ones, or
// nowhere when it says what is here already.
func (im *elderImport) sort(d *draft, into *run, owners map[string]IdentOwner, persons map[Person][]ElderRow) error {
	owner, err := im.owner(d, owners, persons)
	switch {
	case err != nil:
		return err
	case owner.Version == 0:
		into.fresh = append(into.fresh, im.newcomer(d, owner.ElderID))
	case owner.Digest == d.row.Digest:
		im.report.Unchanged++
	default:
		d.found = owner.ElderID
		into.known = append(into.known, d)
	}
	return nil
}

// newcomer makes a new row ready for the store. The id is the one that a former
// import reserved, when there was one.
func (im *elderImport) newcomer(d *draft, reserved ElderID) *newcomer {
	now, e := im.r.o.Now().UTC(), &d.row.Elder
	e.ID = cmp.Or(reserved, NewID[ElderID]())
	e.CreatedAt, e.UpdatedAt, e.Version = now, now, 1
	im.r.seal(&d.row)
	n := &newcomer{d.line.pack(), NewElder{ID: e.ID, Status: e.Status, Person: personOf(e), UpdatedAt: now, Docs: im.r.store.Documents(e),
		Sealed: d.row.Sealed, Digest: d.row.Digest, Idents: d.row.Idents, Phones: d.row.Phones}}
	if _, twice := im.spelled[e.Name]; !twice {
		im.spelled[e.Name], n.Tokens = struct{}{}, d.row.Tokens
	}
	return n
}

// changeRows are the changed elders of one commit.
const changeRows = 50

// write loads the new rows of a run in bulk, and changes the known ones one by one
// in small commits.
func (im *elderImport) write(ctx context.Context, run run) error {
	if err := im.load(ctx, run.fresh); err != nil {
		return err
	}
	for chunk := range slices.Chunk(run.known, changeRows) {
		if err := im.change(ctx, chunk); err != nil {
			return err
		}
	}
	return nil
}

func (im *elderImport) load(ctx context.Context, fresh []*newcomer) error {
	rows := make([]*NewElder, len(fresh))
	for i, n := range fresh {
		rows[i] = &n.NewElder
	}
	if err := im.r.store.LoadKeys(ctx, rows); err != nil {
		return err
	}
	refused, err := im.r.store.LoadElders(ctx, rows, &im.note)
	if err != nil {
		return err
	}
	im.report.Added += len(rows) - len(refused)
	late := make(map[ElderID]bool, len(refused))
	for _, id := range refused {
		late[id] = true
	}
	for _, n := range fresh {
		if late[n.ID] {
			im.reject(n.line.unpack(), -1, Invalid("", "the person was entered by somebody else at this moment; import the row again"))
		}
	}
	return nil
}

// change brings records that are here to what the rows say.
func (im *elderImport) change(ctx context.Context, chunk []*draft) error {
	var bad map[*draft]error
	err := im.r.store.Change(ctx, func(tx Tx) error {
		bad = map[*draft]error{}
		for _, d := range chunk {
			err := im.changeOne(tx, d)
			if ce := (*Error)(nil); errors.As(err, &ce) {
				bad[d] = err
			} else if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, d := range chunk {
		if err := bad[d]; err != nil {
			im.reject(d.line, columnOf(im.columns, err), err)
			continue
		}
		im.report.Changed++
	}
	return nil
}

func (im *elderImport) changeOne(tx Tx, d *draft) error {
	row, err := tx.Elder(d.found)
	if err != nil {
		return err
	}
	was, err := im.r.withKeys(row)
	if err != nil {
		return err
	}
	e, err := im.r.unseal(row)
	if err != nil {
		return err
	}
	before := e
	filled := elderDraft{Elder: e}
	if _, err = im.fill(&filled, d.line); err != nil {
		return err
	}
	e = filled.Elder
	if e.Name != before.Name && (d.row.Elder.IDNumber == "" || d.row.Elder.IDNumber != before.IDNumber) {
		return Invalid("name", "the record that has this key is of another name, and no ID number says that they are one person")
	}
	return im.r.putElder(tx, &e, was, d.row.Digest, im.o.Actor)
}
