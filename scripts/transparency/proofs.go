package main

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"

	"filippo.io/torchwood"
	formats "github.com/transparency-dev/formats/proof"
	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
	"golang.org/x/mod/sumdb/tlog"
)

type proofCase struct {
	What     string           `json:"what"`
	Origin   string           `json:"origin"`
	LeafHex  string           `json:"leaf_hex"`
	Index    uint64           `json:"index"`
	ExtraHex string           `json:"extra_hex"`
	Proof    string           `json:"proof"`
	SignedAt map[string]int64 `json:"signed_at"`
}

func proofCases() document {
	entries := newTree(entriesOf(1000))
	cases := []proofCase{}
	for _, place := range []struct{ index, size uint64 }{{0, 1}, {2, 3}, {77, 257}, {999, 1000}} {
		head := sign("", checkpointText(entries, place.size), plain(origin), lattice(origin), cosigner("witness.example/w"))
		path := entries.inclusion(place.index, place.size)
		extra := fmt.Appendf(nil, "the entry is %d", place.index)
		leaf := hex.EncodeToString(rfc6962.DefaultHasher.HashLeaf(fmt.Appendf(nil, "entry %d", place.index)))
		hashes := tlog.RecordProof{}
		plainHashes := [][32]byte{}
		for _, node := range path {
			hashes = append(hashes, tlog.Hash(node))
			plainHashes = append(plainHashes, [32]byte(node))
		}
		one := torchwood.FormatProof(int64(place.index), hashes, []byte(head.Note))
		two := torchwood.FormatProofWithExtraData(int64(place.index), extra, hashes, []byte(head.Note))
		other := formats.TLogProof{Index: place.index, Hashes: plainHashes, Checkpoint: []byte(head.Note), ExtraData: extra}
		if !bytes.Equal(two, other.Marshal()) {
			panic("two implementations write different proofs")
		}
		cases = append(cases,
			proofCase{"without extra data", origin, leaf, place.index, "", string(one), head.SignedAt},
			proofCase{"with extra data", origin, leaf, place.index, hex.EncodeToString(extra), string(two), head.SignedAt})
	}
	return document{
		What:  "tlog-proofs as torchwood and transparency-dev/formats write them, of 'entry <index>'; all keys that signed",
		Cases: cases,
	}
}

// verifyProofs verifies every proof in Keyfold's log_proofs.json with torchwood, and again with transparency-dev.
func verifyProofs(data []byte) (int, error) {
	var ours struct{ Cases []proofCase }
	if err := json.Unmarshal(data, &ours); err != nil {
		return 0, err
	}
	for _, each := range ours.Cases {
		if err := verifyProof(each); err != nil {
			return 0, fmt.Errorf("%s: %w", each.What, err)
		}
	}
	return len(ours.Cases), nil
}

func verifyProof(each proofCase) error {
	policies := []torchwood.Policy{torchwood.OriginPolicy(each.Origin)}
	for vkey := range each.SignedAt {
		policies = append(policies, torchwood.SingleVerifierPolicy(must(verifier(vkey))))
	}
	leaf := must(hex.DecodeString(each.LeafHex))
	policy := torchwood.ThresholdPolicy(len(policies), policies...)
	if err := torchwood.VerifyProof(policy, tlog.Hash(leaf), []byte(each.Proof)); err != nil {
		return err
	}
	var parsed formats.TLogProof
	if err := parsed.Unmarshal([]byte(each.Proof)); err != nil {
		return err
	}
	if parsed.Index != each.Index || hex.EncodeToString(parsed.ExtraData) != each.ExtraHex {
		return errors.New("another index or other extra data")
	}
	opened, err := openBy(string(parsed.Checkpoint), each.SignedAt)
	if err != nil {
		return err
	}
	head, err := torchwood.ParseCheckpoint(opened.Text)
	if err != nil {
		return err
	}
	nodes := [][]byte{}
	for _, node := range parsed.Hashes {
		nodes = append(nodes, node[:])
	}
	return proof.VerifyInclusion(rfc6962.DefaultHasher, parsed.Index, uint64(head.N), leaf, nodes, head.Hash[:])
}
