reconcile {
  interval  = "0s"
  claim_ttl = "1s"
  listen    = "9180"
  webhook   = "hunter2.example.net/hook"
}
