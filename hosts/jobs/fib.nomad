# The demo's service: three instances spread over the clients, routed by the load balancer at /fib.
job "fib" {
  datacenters = ["*"]

  group "fib" {
    count = 3

    # As even as it can be, and still free to run twice on a client when another one is away or the job is scaled up.
    spread {
      attribute = "${node.unique.id}"
    }

    network {
      port "http" {}
    }

    service {
      name     = "fib"
      port     = "http"
      provider = "consul"
      tags     = ["lb", "lb.path=/fib"]

      check {
        type     = "http"
        path     = "/health"
        interval = "2s"
        # A guest that waits for a host's busy CPU is not a service that hangs.
        timeout  = "5s"
      }
    }

    # Without end: a lab's faults are made on purpose.
    restart {
      attempts = 10
      interval = "1m"
      delay    = "1s"
      mode     = "delay"
    }

    reschedule {
      unlimited      = true
      delay          = "5s"
      delay_function = "constant"
    }

    # A deployment that misses its deadline stays failed, so only one that is broken may: on a busy host an emulated guest takes minutes
    # to start the helpers that Nomad runs beside each task. Who waits (labctl provision) hears much earlier that nothing moves.
    update {
      max_parallel      = 1
      min_healthy_time  = "1s"
      healthy_deadline  = "30m"
      progress_deadline = "1h"
    }

    task "fib" {
      driver = "raw_exec"
      user   = "nobody"

      config {
        command = "/usr/local/bin/fib"
      }

      env {
        NODE = "${node.unique.name}"
      }

      resources {
        cpu    = 50
        memory = 32
      }
    }
  }
}
