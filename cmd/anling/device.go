package main

import (
	"context"
	"fmt"
	"os"
	"text/tabwriter"
	"time"

	"anling/care"
)

type deviceCmd struct {
	Add  deviceAddCmd  `cmd:"" help:"Enter one device."`
	List deviceListCmd `cmd:"" help:"List devices."`
}

type deviceAddCmd struct {
	Protocol string `arg:"" help:"gt06, watch, sip or number."`
	ID       string `arg:"" help:"IMEI or the id that the device states; of a plain telephone its number."`
	Phone    string `help:"Number of its SIM card: a call from it is the device's call."`
	Kind     string `help:"pendant, watch, fixed_button, pull_cord, phone …" default:"pendant"`
	Model    string `help:"Model, as on its label."`
	Elder    string `help:"Who has it: a search that finds one elder (name, telephone, ID number)."`
}

// Run enters the device.
func (c deviceAddCmd) Run(ctx context.Context, root *cli) error {
	cfg, err := root.load()
	if err != nil {
		return err
	}
	return withRegistry(ctx, cfg, func(ctx context.Context, r *care.Registry) error {
		d := care.Device{Protocol: c.Protocol, ExternalID: c.ID, SIMNumber: c.Phone, Kind: c.Kind, Model: c.Model}
		if c.Protocol == "number" && c.Phone == "" {
			d.SIMNumber, d.ExternalID = c.ID, ""
		}
		if c.Elder != "" {
			hits, err := r.Search(ctx, c.Elder, 2)
			if err != nil {
				return err
			}
			if len(hits) != 1 {
				return fmt.Errorf("%q finds %s", c.Elder, map[bool]string{true: "nobody", false: "more than one elder"}[len(hits) == 0])
			}
			d.ElderID = hits[0].ID
		}
		d, err := r.SaveDevice(ctx, d, byCLI)
		if err != nil {
			return err
		}
		fmt.Println(d.ID)
		return nil
	})
}

type deviceListCmd struct {
	Query    string `help:"First or last characters of the device's id."`
	Protocol string `help:"Only of this protocol."`
	Offline  bool   `help:"Only those that are off line."`
	Limit    int    `help:"At most so many." default:"100"`
}

// Run prints the devices.
func (c deviceListCmd) Run(ctx context.Context, root *cli) error {
	cfg, err := root.load()
	if err != nil {
		return err
	}
	return withRegistry(ctx, cfg, func(ctx context.Context, r *care.Registry) error {
		all, err := r.Devices(ctx, care.DeviceFilter{Query: c.Query, Protocol: c.Protocol, Offline: c.Offline, Limit: c.Limit})
		if err != nil {
			return err
		}
		w := tabwriter.NewWriter(os.Stdout, 0, 4, 2, ' ', 0)
		fmt.Fprintln(w, "ID\tPROTOCOL\tDEVICE\tNUMBER\tKIND\tSTATE\tELDER\tLAST SEEN")
		for _, d := range all {
			seen := "never"
			if !d.LastSeen.IsZero() {
				seen = d.LastSeen.Format(time.RFC3339)
			}
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", d.ID, d.Protocol, d.ExternalID, care.MaskPhone(d.SIMNumber), d.Kind, d.State, d.ElderID, seen)
		}
		return w.Flush()
	})
}
