# lkv on an empty base: one static binary and the CA certificates, as a user without rights.
# Build it with `make docker`, which puts both files into the build context.
FROM scratch
COPY ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY lkv /lkv
USER 65532:65532
WORKDIR /spec
ENTRYPOINT ["/lkv"]
