// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package partyline_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/wsgiparty/wsgiparty/partyline"
)

// menu returns a handler that answers with an entry of the site's menu.
func menu(entry string) partyline.Handler {
	return func(context.Context, any) (any, error) { return entry, nil }
}

func ExampleOperator_AskAround() {
	line := partyline.NewPartyline("main", partyline.Options{})
	blog, shop := line.Operator("blog"), line.Operator("shop")
	blog.Connect("menu", menu("Articles"))
	shop.Connect("menu", menu("Cart"))
	shop.Connect("menu", menu("Orders"))

	answers, err := line.Operator("home").AskAround(context.Background(), "menu", nil)
	fmt.Println(answers, err)
	answers, err = shop.AskAround(context.Background(), "menu", nil) // nobody asks itself
	fmt.Println(answers, err)
	// Output:
	// [Articles Cart Orders] <nil>
	// [Articles] <nil>
}

func ExampleOperator_Ask() {
	line := partyline.NewPartyline("main", partyline.Options{})
	line.Operator("blog").Connect("menu", menu("Articles"))
	line.Operator("shop").Connect("menu", menu("Cart"))

	home := line.Operator("home")
	fmt.Println(home.Ask(context.Background(), "shop", "menu", nil))
	fmt.Println(home.Ask(context.Background(), "wiki", "menu", nil))
	// Output:
	// [Cart] <nil>
	// [] guest "wiki" on partyline "main" is not connected under service "menu"
}

func ExampleOperator_AskAround_failures() {
	line := partyline.NewPartyline("main", partyline.Options{})
	line.Operator("blog").Connect("menu", menu("Articles"))
	line.Operator("shop").Connect("menu", func(context.Context, any) (any, error) {
		return nil, errors.New("the database is away")
	})

	answers, err := line.Operator("").AskAround(context.Background(), "menu", nil)
	fmt.Println(answers)
	fmt.Println(err)
	// Output:
	// [Articles]
	// guest "shop" failed to answer "menu": the database is away
}

func ExampleOperator_Replies() {
	line := partyline.NewPartyline("main", partyline.Options{})
	line.Operator("blog").Connect("search", func(_ context.Context, payload any) (any, error) {
		return fmt.Sprintf("two articles on %v", payload), nil
	})
	line.Operator("shop").Connect("search", func(context.Context, any) (any, error) {
		return nil, partyline.ErrHighAndDry
	})

	for reply := range line.Operator("").Replies(context.Background(), "search", "tea") {
		fmt.Println(reply.Guest, reply.Answer, reply.Err)
	}
	// Output:
	// blog two articles on tea <nil>
	// shop <nil> no answer
}

func ExampleOperator_Leave() {
	line := partyline.NewPartyline("main", partyline.Options{})
	before := line.Operator("blog")
	before.Connect("menu", menu("Articles"))

	// The new one connects before the old one leaves: nobody finds the guest away.
	after := line.Operator("blog")
	after.Connect("menu", menu("Stories"))
	before.Leave()

	fmt.Println(line.Operator("").AskAround(context.Background(), "menu", nil))
	// Output: [Stories] <nil>
}

func ExampleFirst() {
	type page struct{ Name string }
	line := partyline.NewPartyline("main", partyline.Options{})
	line.Operator("shop").Connect("url", func(_ context.Context, payload any) (any, error) {
		if asked, err := partyline.PayloadAs[page](payload); err != nil || asked.Name != "cart" {
			return nil, partyline.ErrHighAndDry
		}
		return "/shop/cart", nil
	})

	url, err := partyline.First[string](context.Background(), line.Operator("blog"), "url", page{"cart"})
	fmt.Println(url, err)
	_, err = partyline.First[string](context.Background(), line.Operator("blog"), "url", page{"archive"})
	fmt.Println(err == partyline.ErrHighAndDry)
	// Output:
	// /shop/cart <nil>
	// true
}

func ExampleAll() {
	line := partyline.NewPartyline("main", partyline.Options{})
	line.Operator("blog").Connect("items", func(context.Context, any) (any, error) { return 12, nil })
	line.Operator("shop").Connect("items", func(context.Context, any) (any, error) { return 40, nil })

	counts, err := partyline.All[int](context.Background(), line.Operator(""), "items", nil)
	fmt.Println(counts, err)
	// Output: [12 40] <nil>
}
