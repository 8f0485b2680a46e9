// Copyright 2026 The wsgi_party Authors
// SPDX-License-Identifier: Apache-2.0

package httpguest_test

import "testing"

// TestDirectly is what holds for asks through the routes, for those by connections of the guest's own.
func TestDirectly(t *testing.T) {
	directly = true
	t.Cleanup(func() { directly = false })
	for name, test := range map[string]func(*testing.T){
		"HowAnApplicationIsAsked":                       TestHowAnApplicationIsAsked,
		"WhatAnApplicationAnswersAnAsk":                 TestWhatAnApplicationAnswersAnAsk,
		"TheLimitsOfAnAskByDefault":                     TestTheLimitsOfAnAskByDefault,
		"AConnectionThatWasIdleMayEndWhenItIsUsed":      TestAConnectionThatWasIdleMayEndWhenItIsUsed,
		"AServiceMayBeAList":                            TestAServiceMayBeAList,
		"AServiceThatDoesNotAnswerIsLeftAloneForAWhile": TestAServiceThatDoesNotAnswerIsLeftAloneForAWhile,
		"OneSlowGuestCostsItsTimeoutOnce":               TestOneSlowGuestCostsItsTimeoutOnce,
		"AnAskTakesAlongWhatIsForwardedAndNothingElse":  TestAnAskTakesAlongWhatIsForwardedAndNothingElse,
		"TheApplicationIsAskedForItsManifest":           TestTheApplicationIsAskedForItsManifest,
		"WhatTheApplicationAnswers":                     TestWhatTheApplicationAnswers,
		"ANewManifestReplacesTheOldWithoutAGap":         TestANewManifestReplacesTheOldWithoutAGap,
		"AnAskWhoseTurnComesTooLateIsRefused":           TestAnAskWhoseTurnComesTooLateIsRefused,
		"AChainDoesNotWaitForASlotThatItHolds":          TestAChainDoesNotWaitForASlotThatItHolds,
	} {
		t.Run(name, test)
	}
}
