// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package examples

import (
	"bytes"
	"flag"
	"image"
	"image/color"
	"image/draw"
	"image/png"
	"os"
	"slices"
	"testing"

	"github.com/wsgiparty/wsgiparty/internal/check"
)

var picture = flag.Bool("picture", false, "make docs/trial.png anew, the picture that begins the README")

// TestThePictureOfTheREADME takes it anew if asked to: go test ./examples -run ThePictureOfTheREADME -picture
func TestThePictureOfTheREADME(t *testing.T) {
	const name = "../docs/trial.png"
	if *picture {
		s := startTrial(t)
		s.Call("Emulation.setScrollbarsHidden", map[string]any{"hidden": true}, nil)
		s.Dark(false)
		s.Size(1280, 900)
		s.do("cafe")
		s.becomes("/magazine/articles/lamplight /shop/products/brass-lamp /cafe/evenings/owls", addresses)
		s.becomes("Magazine /magazine/ Shop /shop/ Café /cafe/", menu)
		s.becomes("0", "[document, ...frames].flatMap((d) => d.getAnimations()).length")
		s.becomes("true", "frames.every((d) => d.readyState === 'complete')")
		taken := check.Value(png.Decode(bytes.NewReader(s.Screenshot())))(t)
		var small bytes.Buffer
		check.Must(t, (&png.Encoder{CompressionLevel: png.BestCompression}).Encode(&small, paletted(taken)))
		check.Must(t, os.WriteFile(name, small.Bytes(), 0o644))
	}
	config, err := png.DecodeConfig(bytes.NewReader(check.Value(os.ReadFile(name))(t)))
	check.Must(t, err)
	size := check.Value(os.Stat(name))(t).Size()
	check.ErrorIf(t, config.Width < 1000 || size > 150<<10, "%s has %d bytes and is %d px wide", name, size, config.Width)
}

// paletted returns a picture with its 256 most frequent colours, of which none is much like another.
func paletted(from image.Image) image.Image {
	counts := make(map[color.RGBA]int)
	for y := from.Bounds().Min.Y; y < from.Bounds().Max.Y; y++ {
		for x := from.Bounds().Min.X; x < from.Bounds().Max.X; x++ {
			counts[color.RGBAModel.Convert(from.At(x, y)).(color.RGBA)]++
		}
	}
	var colors []color.RGBA
	for c := range counts {
		colors = append(colors, c)
	}
	slices.SortFunc(colors, func(a, b color.RGBA) int {
		return counts[b] - counts[a]
	})
	var palette color.Palette
	for distance := 4; distance >= 0 && len(palette) < 256; distance -= 2 {
		for _, c := range colors {
			if len(palette) < 256 && !slices.ContainsFunc(palette, func(p color.Color) bool { return near(c, p.(color.RGBA), distance) }) {
				palette = append(palette, c)
			}
		}
	}
	to := image.NewPaletted(from.Bounds(), palette)
	draw.Draw(to, to.Bounds(), from, from.Bounds().Min, draw.Src)
	return to
}

func near(a, b color.RGBA, distance int) bool {
	off := func(x, y uint8) bool { return max(x, y)-min(x, y) > uint8(distance) }
	return !off(a.R, b.R) && !off(a.G, b.G) && !off(a.B, b.B)
}
