# The mesh's API: a program without a container, once on each client. It serves the statistics that consul-template writes there.
job "go-api" {
  datacenters = ["*"]
  type        = "system"

  group "go-api" {
    network {
      port "http" {}
    }

    volume "mesh" {
      type      = "host"
      source    = "mesh"
      read_only = true
    }

    service {
      name     = "go-api"
      port     = "http"
      provider = "consul"

      check {
        type     = "http"
        path     = "/health"
        interval = "5s"
        timeout  = "5s"
      }
    }

    restart {
      attempts = 10
      interval = "1m"
      delay    = "1s"
      mode     = "delay"
    }

    task "go-api" {
      driver = "exec"

      config {
        command = "/usr/local/bin/stats"
      }

      volume_mount {
        volume      = "mesh"
        destination = "/mesh"
        read_only   = true
      }

      env {
        NODE       = "${node.unique.name}"
        STATS_FILE = "/mesh/stats.json"
      }

      resources {
        cpu    = 20
        memory = 20
      }
    }
  }
}
