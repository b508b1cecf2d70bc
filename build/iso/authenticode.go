package iso

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/big"
)

// Parts of a PKCS #7 SignedData structure, RFC 2315 section 9.
type (
	content struct {
		Type  asn1.ObjectIdentifier
		Value asn1.RawValue
	}
	attribute struct {
		Type   asn1.ObjectIdentifier
		Values []any `asn1:"set"`
	}
	issuerSerial struct {
		Issuer asn1.RawValue
		Serial *big.Int
	}
	signerInfo struct {
		Version    int
		Issuer     issuerSerial
		Digest     pkix.AlgorithmIdentifier
		Attributes asn1.RawValue
		Encryption pkix.AlgorithmIdentifier
		Signature  []byte
	}
	signedData struct {
		Version      int
		Digests      []pkix.AlgorithmIdentifier `asn1:"set"`
		Content      content
		Certificates asn1.RawValue
		Signers      []signerInfo `asn1:"set"`
	}
)

// Parts of the content that Authenticode signs (SpcIndirectDataContent), "Windows Authenticode Portable Executable
// Signature Format".
type (
	indirectData struct {
		Data   peImage
		Digest digestInfo
	}
	peImage struct {
		Type  asn1.ObjectIdentifier
		Value peImageData
	}
	peImageData struct {
		Flags asn1.BitString
		File  asn1.RawValue
	}
	digestInfo struct {
		Algorithm pkix.AlgorithmIdentifier
		Digest    []byte
	}
)

var (
	signedDataID    = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 2}
	contentTypeID   = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 3}
	messageDigestID = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 4}
	indirectID      = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 311, 2, 1, 4}
	peImageID       = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 311, 2, 1, 15}

	// obsolete is the file name that signatures of EFI programs have: [0] [2] [0] "<<<Obsolete>>>" in UTF-16. An
	// empty one is allowed, but this is what all known verifiers have seen.
	obsolete = asn1.RawValue{FullBytes: []byte("\xa0\x20\xa2\x1e\x80\x1c\x00<\x00<\x00<\x00O\x00b\x00s\x00o\x00l\x00e\x00t\x00e\x00>\x00>\x00>")}

	sha256ID = pkix.AlgorithmIdentifier{Algorithm: asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 1}, Parameters: asn1.NullRawValue}
	rsaID    = pkix.AlgorithmIdentifier{Algorithm: asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 1}, Parameters: asn1.NullRawValue}
	ecdsaID  = pkix.AlgorithmIdentifier{Algorithm: asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3, 2}}
)

// sign makes an Authenticode signature over a PE file's digest: PKCS #7 with the certificates and the two signed
// attributes that Microsoft's format asks for. go-uefi's signer, which the tests verify with, adds the time of day,
// calls every key RSA and holds the file in memory; so this is written out here.
func (s *Signer) sign(digest []byte) ([]byte, error) {
	indirect, err := asn1.Marshal(indirectData{
		Data:   peImage{Type: peImageID, Value: peImageData{Flags: asn1.BitString{}, File: obsolete}},
		Digest: digestInfo{sha256ID, digest},
	})
	if err != nil {
		return nil, err
	}
	var inner asn1.RawValue // PKCS #7 digests the content without its outermost tag and length
	if _, err := asn1.Unmarshal(indirect, &inner); err != nil {
		return nil, err
	}
	sum := sha256.Sum256(inner.Bytes)
	attributes, err := asn1.MarshalWithParams([]attribute{
		{contentTypeID, []any{indirectID}},
		{messageDigestID, []any{sum[:]}},
	}, "set")
	if err != nil {
		return nil, err
	}
	signed := sha256.Sum256(attributes)
	signature, err := s.key.Sign(nil, signed[:], crypto.SHA256)
	if err != nil {
		return nil, err
	}
	encryption := rsaID
	if _, ok := s.key.(*ecdsa.PrivateKey); ok {
		encryption = ecdsaID
	}
	var set asn1.RawValue
	if _, err := asn1.Unmarshal(attributes, &set); err != nil {
		return nil, err
	}
	body, err := asn1.Marshal(signedData{
		Version:      1,
		Digests:      []pkix.AlgorithmIdentifier{sha256ID},
		Content:      content{indirectID, tagged(indirect)},
		Certificates: tagged(append(s.cert.Raw[:len(s.cert.Raw):len(s.cert.Raw)], s.chain...)),
		Signers: []signerInfo{{
			Version:    1,
			Issuer:     issuerSerial{asn1.RawValue{FullBytes: s.cert.RawIssuer}, s.cert.SerialNumber},
			Digest:     sha256ID,
			Attributes: tagged(set.Bytes),
			Encryption: encryption,
			Signature:  signature,
		}},
	})
	if err != nil {
		return nil, err
	}
	return asn1.Marshal(content{signedDataID, tagged(body)})
}

// tagged puts context tag 0 around encoded values.
func tagged(b []byte) asn1.RawValue {
	return asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 0, IsCompound: true, Bytes: b}
}

// certificateAlign is the boundary at which each entry of a PE file's certificate table begins.
const certificateAlign = 8

// certificateTable encodes a certificate table with one signature (WIN_CERTIFICATE: length, revision 2.0, PKCS #7).
func certificateTable(signature []byte) []byte {
	b := binary.LittleEndian.AppendUint32(nil, uint32(8+len(signature)))
	b = binary.LittleEndian.AppendUint16(b, 0x0200)
	b = binary.LittleEndian.AppendUint16(b, 0x0002)
	b = append(b, signature...)
	return append(b, make([]byte, align(int64(len(b)), certificateAlign)-int64(len(b)))...)
}

// sign signs the file at base, whose first bytes are head and whose length is end, and returns its final length.
// The digest leaves out the checksum, the place and size of the certificate table, and the table itself. All else
// is read back from the file: the initrd was written before the headers that the digest begins with were known.
func (u *uki) sign(f target, base, end int64, head []byte) (int64, error) {
	r, ok := f.File.(io.ReaderAt)
	if !ok {
		return 0, errors.New("sign kernel image: the file cannot be read back")
	}
	h := sha256.New()
	sum, security := u.pe+peChecksum, u.pe+peSecurity
	for _, p := range [][]byte{head[:sum], head[sum+4 : security], head[security+8:]} {
		_, _ = h.Write(p) // a hash never fails
	}
	rest := end - int64(len(head))
	n, err := io.CopyBuffer(h, io.NewSectionReader(r, base+int64(len(head)), rest), make([]byte, 1<<20))
	if err == nil && n != rest {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return 0, fmt.Errorf("sign kernel image: read it back: %w", err)
	}
	signature, err := u.signer.sign(h.Sum(nil))
	if err != nil {
		return 0, fmt.Errorf("sign kernel image: %w", err)
	}
	table := certificateTable(signature)
	if int64(len(table)) > u.signer.room() {
		return 0, fmt.Errorf("sign kernel image: a signature of %d bytes: %w", len(table), ErrTooLarge)
	}
	where := binary.LittleEndian.AppendUint32(nil, uint32(end))
	where = binary.LittleEndian.AppendUint32(where, uint32(len(table)))
	if err := f.put(table, base+end, "signature"); err != nil {
		return 0, err
	}
	return end + int64(len(table)), f.put(where, base+security, "signature's place")
}
