package store

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"time"

	"anling/care"
	"anling/store/db"
)

// Users keeps accounts, their sessions, the telephones of operators and the audit log.
type Users struct{ s *Store }

// NewUsers is the store of accounts.
func NewUsers(s *Store) *Users { return &Users{s} }

func readUser(id, password, doc string, err error) (care.User, error) {
	u, err := read[care.User]("user", id, doc, err)
	u.Password = password
	return u, err
}

// User reads an account.
func (u *Users) User(ctx context.Context, id care.UserID) (care.User, error) {
	row, err := u.s.read.GetAccount(ctx, string(id))
	return readUser(string(id), row.Password, row.Doc, err)
}

// UserByName reads the account that signs in as name.
func (u *Users) UserByName(ctx context.Context, name string) (care.User, error) {
	row, err := u.s.read.GetAccountByName(ctx, name)
	return readUser(name, row.Password, row.Doc, err)
}

// Users lists all accounts by name.
func (u *Users) Users(ctx context.Context) ([]care.User, error) {
	rows, err := u.s.read.ListAccounts(ctx, math.MaxInt32)
	if err != nil {
		return nil, fmt.Errorf("list users: %w", err)
	}
	all := make([]care.User, 0, len(rows))
	for _, r := range rows {
		one, err := readUser("", r.Password, r.Doc, nil)
		if err != nil {
			return nil, err
		}
		all = append(all, one)
	}
	return all, nil
}

// SaveUser writes an account, a new one when its Version is 0, with a line in the
// audit log. An empty Password keeps the one there is. When the account's role,
// password or being disabled changes, its sessions end in the same commit.
func (u *Users) SaveUser(ctx context.Context, x care.User, actor string) (care.User, error) {
	if err := x.Check(); err != nil {
		return care.User{}, err
	}
	var saved care.User
	err := u.s.Write(ctx, Normal, func(tx *Tx) error {
		saved = x
		saved.UpdatedAt = tx.now.UTC()
		if x.Version == 0 {
			return tx.addUser(&saved, actor)
		}
		row, err := tx.GetAccount(tx.ctx, string(x.ID))
		old, err := readUser(string(x.ID), row.Password, row.Doc, err)
		if err != nil {
			return err
		}
		if old.Version != x.Version {
			return care.Refuse(care.ErrTransition, "user %s was changed by another, read it again", old.Name)
		}
		saved.Name, saved.CreatedAt = old.Name, old.CreatedAt
		if saved.Password == "" {
			saved.Password = old.Password
		}
		return tx.changeUser(&saved, old, actor)
	})
	return saved, err
}

func (tx *Tx) addUser(x *care.User, actor string) error {
	if x.Password == "" {
		return care.Invalid("password", "is empty")
	}
	if x.ID == "" {
		x.ID = care.NewID[care.UserID]()
	}
	if x.Lang == "" {
		x.Lang = "zh-CN"
	}
	x.Version, x.CreatedAt = 1, x.UpdatedAt
	_, err := tx.InsertAccount(tx.ctx, db.InsertAccountParams{ID: string(x.ID), Name: x.Name, Role: string(x.Role), Disabled: flag(x.Disabled), Password: x.Password, Version: 1, Doc: document(x)})
	if err != nil && isUnique(err) {
		return care.Refuse(care.ErrTaken, "the name %s is taken", x.Name)
	}
	if err != nil {
		return fmt.Errorf("save user %s: %w", x.ID, err)
	}
	return tx.audit(care.AuditEntry{Actor: actor, Action: "user.added", Object: "user:" + string(x.ID), Detail: string(x.Role)})
}

func (tx *Tx) changeUser(x *care.User, old care.User, actor string) error {
	was := x.Version
	x.Version++
	n, err := tx.UpdateAccount(tx.ctx, db.UpdateAccountParams{ID: string(x.ID), Role: string(x.Role), Disabled: flag(x.Disabled), Password: x.Password, Version: x.Version, Doc: document(x), Version_2: was})
	if err := conflict(n, err, "user", string(x.ID)); err != nil {
		return err
	}
	if x.Role != old.Role || x.Disabled != old.Disabled || x.Password != old.Password || x.ResponderID != old.ResponderID || x.ProviderID != old.ProviderID {
		if err := tx.DeleteSessionsOf(tx.ctx, string(x.ID)); err != nil {
			return fmt.Errorf("end sessions of user %s: %w", x.ID, err)
		}
	}
	action := "user.saved"
	switch {
	case x.Disabled && !old.Disabled:
		action = "user.disabled"
	case x.Password != old.Password:
		action = "user.password"
	}
	return tx.audit(care.AuditEntry{Actor: actor, Action: action, Object: "user:" + string(x.ID), Detail: string(x.Role)})
}

// AddUser makes an account, with its telephone unless that is nil: both or none.
func (u *Users) AddUser(ctx context.Context, x care.User, phone *care.Telephone, actor string) (care.User, error) {
	if err := x.Check(); err != nil {
		return care.User{}, err
	}
	var saved care.User
	err := u.s.Write(ctx, Normal, func(tx *Tx) error {
		saved = x
		saved.UpdatedAt = tx.now.UTC()
		if err := tx.addUser(&saved, actor); err != nil || phone == nil {
			return err
		}
		return tx.setPhone(&saved, *phone, actor)
	})
	return saved, err
}

// SetPhone gives a user a telephone, in place of the one he had.
func (u *Users) SetPhone(ctx context.Context, id care.UserID, phone care.Telephone, actor string) error {
	return u.s.Write(ctx, Normal, func(tx *Tx) error {
		row, err := tx.GetAccount(tx.ctx, string(id))
		x, err := readUser(string(id), row.Password, row.Doc, err)
		if err != nil {
			return err
		}
		return tx.setPhone(&x, phone, actor)
	})
}

func (tx *Tx) setPhone(x *care.User, p care.Telephone, actor string) error {
	if err := tx.DropSIPAccountsOf(tx.ctx, string(x.ID), p.Account); err != nil {
		return fmt.Errorf("phones of user %s: %w", x.ID, err)
	}
	n, err := tx.PutSIPAccount(tx.ctx, p.Account, string(x.ID))
	if err != nil {
		return fmt.Errorf("phone %s: %w", p.Account, err)
	}
	if n == 0 {
		return care.Refuse(care.ErrTaken, "the telephone %s belongs to another user", p.Account)
	}
	if err := tx.DropSIPDigests(tx.ctx, p.Account); err != nil {
		return fmt.Errorf("digests of phone %s: %w", p.Account, err)
	}
	for algorithm, ha1 := range p.Digests {
		if err := tx.PutSIPDigest(tx.ctx, db.PutSIPDigestParams{Account: p.Account, Realm: p.Realm, Algorithm: algorithm, Ha1: ha1}); err != nil {
			return fmt.Errorf("digest of phone %s: %w", p.Account, err)
		}
	}
	old := *x
	x.Phone, x.UpdatedAt = p.Account, tx.now.UTC()
	return tx.changeUser(x, old, actor)
}

// Digest is the HA1 of a telephone's account, for callcenter/sip.
func (u *Users) Digest(ctx context.Context, account, realm, algorithm string) (string, bool) {
	ha1, err := u.s.read.GetSIPDigest(ctx, account, realm, algorithm)
	return ha1, err == nil
}

// OpenSession keeps a new session.
func (u *Users) OpenSession(ctx context.Context, x care.Session) error {
	return u.s.Write(ctx, Urgent, func(tx *Tx) error {
		if _, err := tx.DeleteExpiredSessions(tx.ctx, us(tx.now.Add(-time.Hour))); err != nil {
			return fmt.Errorf("end old sessions: %w", err)
		}
		err := tx.InsertSession(tx.ctx, db.InsertSessionParams{Hash: x.Hash, AccountID: string(x.UserID), CreatedUs: us(x.Created), SeenUs: us(x.Seen), ExpiresUs: us(x.Expires)})
		if err != nil {
			return fmt.Errorf("open session of user %s: %w", x.UserID, err)
		}
		return nil
	})
}

// Session finds a session by the hash of its token, with its user; care.ErrNotFound
// when there is none or the user is disabled. Whether it is over the caller tells.
func (u *Users) Session(ctx context.Context, hash string) (care.Session, care.User, error) {
	row, err := u.s.read.GetSession(ctx, hash)
	x, err := readUser("of the session", "", row.Doc, err)
	if err != nil {
		return care.Session{}, care.User{}, err
	}
	return care.Session{Hash: hash, UserID: care.UserID(row.AccountID), Created: at(row.CreatedUs), Seen: at(row.SeenUs), Expires: at(row.ExpiresUs)}, x, nil
}

// TouchSession notes that a session is used.
func (u *Users) TouchSession(ctx context.Context, hash string, seen, expires time.Time) error {
	return u.s.Write(ctx, Normal, func(tx *Tx) error { return tx.Queries.TouchSession(tx.ctx, hash, us(seen), us(expires)) })
}

// EndSession ends one session; ending it twice is no error.
func (u *Users) EndSession(ctx context.Context, hash string) error {
	return u.s.Write(ctx, Urgent, func(tx *Tx) error { return tx.DeleteSession(tx.ctx, hash) })
}

// Audit appends a line to the audit log.
func (u *Users) Audit(ctx context.Context, e care.AuditEntry) error {
	return u.s.Write(ctx, Urgent, func(tx *Tx) error { return tx.audit(e) })
}

// audit appends a line in this commit. The head's row is locked first, so that on
// PostgreSQL two lines never share a predecessor.
func (tx *Tx) audit(e care.AuditEntry) error {
	head, err := tx.AdvanceAudit(tx.ctx)
	if err != nil {
		return fmt.Errorf("audit %s: %w", e.Action, err)
	}
	e.Pos, e.At = head.Pos, time.UnixMicro(tx.now.UnixMicro()).UTC()
	e.Hash = chain(head.Hash, e)
	err = tx.InsertAudit(tx.ctx, db.InsertAuditParams{Pos: e.Pos, AtUs: us(e.At), Actor: e.Actor, Action: e.Action, Object: e.Object, Detail: e.Detail, Hash: e.Hash})
	if err != nil {
		return fmt.Errorf("audit %s: %w", e.Action, err)
	}
	if err := tx.SetAuditHead(tx.ctx, e.Hash); err != nil {
		return fmt.Errorf("audit %s: %w", e.Action, err)
	}
	return nil
}

// chain is the hash of a line after the one whose hash is prev.
func chain(prev string, e care.AuditEntry) string {
	line, err := json.Marshal([]any{prev, e.Pos, us(e.At), e.Actor, e.Action, e.Object, e.Detail})
	if err != nil {
		panic(fmt.Sprintf("store: audit line: %v", err)) // strings and numbers only
	}
	sum := sha256.Sum256(line)
	return hex.EncodeToString(sum[:])
}

// AuditLog lists lines below a position (0 for the end), latest first.
func (u *Users) AuditLog(ctx context.Context, below int64, limit int) ([]care.AuditEntry, error) {
	if below <= 0 {
		below = math.MaxInt64
	}
	rows, err := u.s.read.AuditLatest(ctx, below, int32(limit))
	if err != nil {
		return nil, fmt.Errorf("read audit log: %w", err)
	}
	all := make([]care.AuditEntry, len(rows))
	for i, r := range rows {
		all[i] = auditEntry(r)
	}
	return all, nil
}

func auditEntry(r db.Audit) care.AuditEntry {
	return care.AuditEntry{Pos: r.Pos, At: at(r.AtUs), Actor: r.Actor, Action: r.Action, Object: r.Object, Detail: r.Detail, Hash: r.Hash}
}

// ErrAudit says that the audit log is not what was written.
var ErrAudit = errors.New("audit log")

// CheckAudit reads the whole audit log and proves its chain; it returns how many
// lines there are. ErrAudit names the first line that is wrong.
func (u *Users) CheckAudit(ctx context.Context) (lines int64, err error) {
	err = u.s.ReadTx(ctx, func(q *db.Queries) error {
		head, err := q.GetAuditHead(ctx)
		if err != nil {
			return fmt.Errorf("read audit log: %w", err)
		}
		prev := ""
		for {
			rows, err := q.AuditFrom(ctx, lines, 1000)
			if err != nil {
				return fmt.Errorf("read audit log: %w", err)
			}
			for _, r := range rows {
				e := auditEntry(r)
				if e.Pos != lines+1 || chain(prev, e) != e.Hash {
					return fmt.Errorf("%w: line %d is missing or was changed", ErrAudit, lines+1)
				}
				lines, prev = e.Pos, e.Hash
			}
			if len(rows) == 0 {
				break
			}
		}
		if head.Pos != lines || head.Hash != prev {
			return fmt.Errorf("%w: its end is missing: %d of %d lines", ErrAudit, lines, head.Pos)
		}
		return nil
	})
	return lines, err
}
