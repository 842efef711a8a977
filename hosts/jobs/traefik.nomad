# Traefik on every worker, at ports that are known: 80 for requests, 8081 for its dashboard. Its routes are tags of services in Consul.
job "traefik" {
  datacenters = ["*"]
  type        = "system"
  priority    = 80

  group "traefik" {
    network {
      port "http" {
        static = 80
      }
      port "dashboard" {
        static = 8081
      }
    }

    service {
      name     = "traefik"
      port     = "dashboard"
      provider = "consul"

      check {
        type     = "http"
        path     = "/ping"
        interval = "5s"
        # A guest that waits for a host's busy CPU is not a service that hangs.
        timeout  = "5s"
      }
    }

    restart {
      attempts = 10
      interval = "1m"
      delay    = "1s"
      mode     = "delay"
    }

    task "traefik" {
      driver = "raw_exec"

      config {
        command = "/usr/local/bin/traefik"
        args = [
          "--entrypoints.web.address=:${NOMAD_PORT_http}",
          "--entrypoints.traefik.address=:${NOMAD_PORT_dashboard}",
          "--api.dashboard=true",
          "--api.insecure=true",
          "--ping=true",
          "--providers.consulcatalog.endpoint.address=127.0.0.1:8500",
          "--providers.consulcatalog.exposedbydefault=false",
          "--providers.consulcatalog.refreshinterval=2s",
          "--global.checknewversion=false",
          "--global.sendanonymoususage=false",
        ]
      }

      resources {
        cpu    = 100
        memory = 128
      }
    }
  }
}
