package iso

// Certificate returns the certificate in DER, which the firmware's db must hold; nil when s is.
func (s *Signer) Certificate() []byte {
	if s == nil {
		return nil
	}
	return s.cert.Raw
}
