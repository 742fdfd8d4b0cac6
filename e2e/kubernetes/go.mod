module rotunda.dev/e2e/kubernetes

go 1.26

