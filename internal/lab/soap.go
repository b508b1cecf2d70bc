package lab

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"
	"github.com/vmware/govmomi/vim25/xml"
)

const (
	soapEnv = "http://schemas.xmlsoap.org/soap/envelope/"
	xsi     = "http://www.w3.org/2001/XMLSchema-instance"
	vimNS   = "urn:vim25"
)

// decode reads the SOAP call in body; nil when it is none that package types knows.
func decode(body []byte) *simulator.Method {
	m, err := simulator.UnmarshalBody(types.TypeFunc(), body)
	if err != nil {
		return nil
	}
	return m
}

// reply is the body of a SOAP answer: raw is an element that is encoded already.
func reply(w http.ResponseWriter, status int, raw string) {
	w.Header().Set("Content-Type", `text/xml; charset="utf-8"`)
	w.WriteHeader(status)
	_, _ = fmt.Fprintf(w, `%s<soapenv:Envelope xmlns:soapenv="%s" xmlns:xsi="%s" xmlns:xsd="http://www.w3.org/2001/XMLSchema"><soapenv:Body>%s</soapenv:Body></soapenv:Envelope>`,
		xml.Header, soapEnv, xsi, raw)
}

// replyResult answers a call whose result is a value, empty for calls without one; kind is its xsi:type.
func replyResult(w http.ResponseWriter, method, kind, value string) {
	var b bytes.Buffer
	fmt.Fprintf(&b, `<%sResponse xmlns="%s">`, method, vimNS)
	if kind != "" {
		fmt.Fprintf(&b, `<returnval xsi:type="xsd:%s">`, kind)
		_ = xml.EscapeText(&b, []byte(value)) // a buffer takes everything
		b.WriteString("</returnval>")
	}
	fmt.Fprintf(&b, "</%sResponse>", method)
	reply(w, http.StatusOK, b.String())
}

func replyTask(w http.ResponseWriter, method string, task types.ManagedObjectReference) {
	reply(w, http.StatusOK, fmt.Sprintf(`<%[1]sResponse xmlns="%[2]s"><returnval type="Task">%[3]s</returnval></%[1]sResponse>`, method, vimNS, task.Value))
}

// detail carries a fault with its type.
type detail struct {
	XMLName xml.Name `xml:"detail"`
	Fault   any
}

// MarshalXML writes the fault as vCenter does: an element named after its type, with that type as xsi:type.
func (d detail) MarshalXML(e *xml.Encoder, _ xml.StartElement) error {
	kind := strings.TrimPrefix(fmt.Sprintf("%T", d.Fault), "*types.")
	start := xml.StartElement{Name: xml.Name{Local: "detail"}}
	if err := e.EncodeToken(start); err != nil {
		return err
	}
	f := xml.StartElement{Name: xml.Name{Local: kind + "Fault"}, Attr: []xml.Attr{
		{Name: xml.Name{Local: "xmlns"}, Value: vimNS}, {Name: xml.Name{Local: "xsi:type"}, Value: kind}}}
	if err := e.EncodeElement(d.Fault, f); err != nil {
		return err
	}
	return e.EncodeToken(start.End())
}

// replyFault answers with a SOAP fault of that type.
func replyFault(w http.ResponseWriter, fault types.BaseMethodFault) {
	var b bytes.Buffer
	fmt.Fprintf(&b, "<soapenv:Fault><faultcode>ServerFaultCode</faultcode><faultstring>%T</faultstring>", fault)
	e := xml.NewEncoder(&b)
	if err := e.Encode(detail{Fault: fault}); err != nil {
		deny(w, http.StatusInternalServerError, "encode %T: %v", fault, err)
		return
	}
	b.WriteString("</soapenv:Fault>")
	reply(w, http.StatusInternalServerError, b.String())
}

// recorder keeps the simulator's answer.
type recorder struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func newRecorder() *recorder                    { return &recorder{header: http.Header{}, status: http.StatusOK} }
func (r *recorder) Header() http.Header         { return r.header }
func (r *recorder) WriteHeader(status int)      { r.status = status }
func (r *recorder) Write(b []byte) (int, error) { return r.body.Write(b) }
func (r *recorder) ok() bool                    { return r.status == http.StatusOK }
func (r *recorder) send(w http.ResponseWriter) {
	for k, v := range r.header {
		w.Header()[k] = v
	}
	w.WriteHeader(r.status)
	_, _ = w.Write(r.body.Bytes())
}

// pass gives the call to the simulator and records its answer.
func (l *Lab) pass(r *http.Request, body []byte) *recorder {
	req := r.Clone(r.Context())
	req.Body, req.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	rec := newRecorder()
	l.model.Service.ServeSDK(rec, req)
	return rec
}

const currentTime = xml.Header + `<Envelope xmlns="` + soapEnv + `"><Body><CurrentTime xmlns="` + vimNS + `"><_this type="ServiceInstance">ServiceInstance</_this></CurrentTime></Body></Envelope>`

// session asks the simulator whether the request's cookie belongs to a session. The answer is that of a harmless call
// that needs one: when it is not ok, it is the right answer to the request.
func (l *Lab) session(r *http.Request) *recorder {
	req := r.Clone(r.Context())
	req.Method, req.URL.Path = http.MethodPost, l.url.Path
	return l.pass(req, []byte(currentTime))
}
