package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"text/tabwriter"

	"anling/care"
	"anling/store"
	"anling/web"
)

// userCmd is accounts from the command line, for the first administrator and for who
// has lost his password. A running server holds the SQLite database: stop it, or use
// the API.
type userCmd struct {
	Add      userAddCmd      `cmd:"" help:"Make an account."`
	List     userListCmd     `cmd:"" help:"List the accounts."`
	Password userPasswordCmd `cmd:"" help:"Set a password; open sessions end."`
	Phone    userPhoneCmd    `cmd:"" help:"Give an operator a SIP telephone; its secret is printed once."`
	Disable  userDisableCmd  `cmd:"" help:"Close an account, or open it again; open sessions end."`
}

const byCLI = "cli:anling"

// withUsers runs f over the accounts of the configured store, and the staff that they
// may stand for.
func (c *cli) withUsers(ctx context.Context, f func(u *store.Users, staff care.Staff, realm string) error) (err error) {
	cfg, err := c.load()
	if err != nil {
		return err
	}
	st, err := openStore(ctx, cfg)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	return f(store.NewUsers(st), store.NewRegistry(st), cfg.SIP.Realm)
}

type userAddCmd struct {
	Name      string           `arg:"" help:"What is typed at sign-in: a-z, 0-9, dot, dash, underscore."`
	Role      care.Role        `required:"" enum:"admin,supervisor,operator,responder,provider" help:"${enum}"`
	Display   string           `name:"display-name" help:"Shown on the pages; the name by default."`
	Responder care.ResponderID `help:"Whom a responder's account stands for."`
	Provider  care.ProviderID  `help:"Whom a provider's account stands for."`
	Skills    []string         `help:"Dialects and languages of an operator."`
	Phone     string           `help:"SIP account of a telephone, such as 1001; its secret is printed once."`
	Generate  bool             `help:"Make a password and print it once, instead of asking for one."`
}

func (a userAddCmd) Run(ctx context.Context, c *cli) error {
	if a.Phone != "" {
		if err := web.CheckPhone(a.Phone); err != nil {
			return err
		}
	}
	return c.withUsers(ctx, func(users *store.Users, staff care.Staff, realm string) error {
		u := care.User{Name: strings.ToLower(a.Name), DisplayName: a.Display, Role: a.Role, ResponderID: a.Responder, ProviderID: a.Provider, Skills: a.Skills}
		if u.DisplayName == "" {
			u.DisplayName = a.Name
		}
		if err := errors.Join(u.Check(), u.CheckStanding(ctx, staff)); err != nil {
			return err
		}
		plain, err := newPassword(a.Generate, os.Stdin, os.Stderr)
		if err != nil {
			return err
		}
		if u.Password, err = web.HashPassword(plain); err != nil {
			return err
		}
		secret := web.NewSecret(20)
		var phone *care.Telephone
		if a.Phone != "" {
			p := web.NewTelephone(a.Phone, realm, secret)
			phone = &p
		}
		if u, err = users.AddUser(ctx, u, phone, byCLI); err != nil {
			return err
		}
		fmt.Printf("account %s (%s) is made\n", u.Name, u.Role)
		if a.Generate {
			fmt.Printf("password: %s\n", plain)
		}
		if phone != nil {
			tellPhone(a.Phone, realm, secret)
		}
		return nil
	})
}

func tellPhone(account, realm, secret string) {
	fmt.Printf("telephone %s, realm %s, secret: %s\n", account, realm, secret)
}

type userListCmd struct{}

func (userListCmd) Run(ctx context.Context, c *cli) error {
	return c.withUsers(ctx, func(users *store.Users, _ care.Staff, _ string) error {
		all, err := users.Users(ctx)
		if err != nil {
			return err
		}
		w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
		fmt.Fprintln(w, "NAME\tROLE\tDISPLAY NAME\tPHONE\tSTANDS FOR\tSTATE")
		for _, u := range all {
			state := "open"
			if u.Disabled {
				state = "disabled"
			}
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s%s\t%s\n", u.Name, u.Role, u.DisplayName, u.Phone, u.ResponderID, u.ProviderID, state)
		}
		return w.Flush()
	})
}

type userPasswordCmd struct {
	Name     string `arg:"" help:"The account."`
	Generate bool   `help:"Make a password and print it once, instead of asking for one."`
}

func (p userPasswordCmd) Run(ctx context.Context, c *cli) error {
	return c.withUsers(ctx, func(users *store.Users, _ care.Staff, _ string) error {
		u, err := users.UserByName(ctx, strings.ToLower(p.Name))
		if err != nil {
			return err
		}
		plain, err := newPassword(p.Generate, os.Stdin, os.Stderr)
		if err != nil {
			return err
		}
		if u.Password, err = web.HashPassword(plain); err != nil {
			return err
		}
		if _, err = users.SaveUser(ctx, u, byCLI); err != nil {
			return err
		}
		fmt.Printf("the password of %s is set\n", u.Name)
		if p.Generate {
			fmt.Printf("password: %s\n", plain)
		}
		return nil
	})
}

type userPhoneCmd struct {
	Name  string `arg:"" help:"The account."`
	Phone string `arg:"" help:"SIP account of the telephone, such as 1001."`
}

func (p userPhoneCmd) Run(ctx context.Context, c *cli) error {
	if err := web.CheckPhone(p.Phone); err != nil {
		return err
	}
	return c.withUsers(ctx, func(users *store.Users, _ care.Staff, realm string) error {
		u, err := users.UserByName(ctx, strings.ToLower(p.Name))
		if err != nil {
			return err
		}
		secret := web.NewSecret(20)
		if err := users.SetPhone(ctx, u.ID, web.NewTelephone(p.Phone, realm, secret), byCLI); err != nil {
			return err
		}
		tellPhone(p.Phone, realm, secret)
		return nil
	})
}

type userDisableCmd struct {
	Name string `arg:"" help:"The account."`
	Undo bool   `help:"Open it again."`
}

func (d userDisableCmd) Run(ctx context.Context, c *cli) error {
	return c.withUsers(ctx, func(users *store.Users, _ care.Staff, _ string) error {
		u, err := users.UserByName(ctx, strings.ToLower(d.Name))
		if err != nil {
			return err
		}
		u.Disabled, u.Password = !d.Undo, ""
		_, err = users.SaveUser(ctx, u, byCLI)
		return err
	})
}

// newPassword makes a password, or reads one: from the first line of what is piped in,
// else twice from the terminal without showing it. It never comes from the command
// line, where every user of the machine could read it.
func newPassword(generate bool, in *os.File, out io.Writer) (string, error) {
	if generate {
		return web.NewSecret(16), nil
	}
	lines := bufio.NewReader(in)
	if !isTerminal(in) {
		return readLine(lines)
	}
	var typed [2]string
	for i, ask := range []string{"password: ", "once more: "} {
		fmt.Fprint(out, ask)
		hidden := echo(in, false)
		line, err := readLine(lines)
		if hidden {
			echo(in, true)
			fmt.Fprintln(out)
		}
		if err != nil {
			return "", err
		}
		typed[i] = line
	}
	if typed[0] != typed[1] {
		return "", errors.New("the two are not the same; nothing is changed")
	}
	return typed[0], nil
}

func readLine(r *bufio.Reader) (string, error) {
	line, err := r.ReadString('\n')
	if err != nil && (line == "" || !errors.Is(err, io.EOF)) {
		return "", fmt.Errorf("read password: %w", err)
	}
	return strings.TrimRight(line, "\r\n"), nil
}

func isTerminal(f *os.File) bool {
	st, err := f.Stat()
	return err == nil && st.Mode()&os.ModeCharDevice != 0
}

// echo switches what the terminal shows of typed letters; false when it cannot.
func echo(tty *os.File, on bool) bool {
	arg := "-echo"
	if on {
		arg = "echo"
	}
	cmd := exec.Command("stty", arg)
	cmd.Stdin = tty
	return cmd.Run() == nil
}
