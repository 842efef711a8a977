# fabio on every node, at the ports that it is known by: 9999 for requests, 9998 for its page. Its routes are tags of services in Consul.
job "fabio" {
  datacenters = ["*"]
  type        = "system"
  priority    = 80

  group "fabio" {
    network {
      port "proxy" {
        static = 9999
      }
      port "ui" {
        static = 9998
      }
    }

    restart {
      attempts = 10
      interval = "1m"
      delay    = "1s"
      mode     = "delay"
    }

    task "fabio" {
      driver = "raw_exec"

      config {
        command = "/usr/local/bin/fabio"
        args    = ["-proxy.strategy", "rr", "-registry.consul.register.addr", "${NOMAD_ADDR_ui}"]
      }

      resources {
        cpu    = 50
        memory = 64
      }
    }
  }
}
