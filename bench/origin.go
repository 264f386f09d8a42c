// SPDX-License-Identifier: Apache-2.0

// The way of the Go service that bistable grew out of: the whole bundle into memory, archive/zip,
// copy to the partition. With an fsync, which makes it comparable.
package main

import (
	"archive/zip"
	"bytes"
	"io"
	"log"
	"net/http"
	"os"
)

func main() {
	response, err := http.Get(os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	data, err := io.ReadAll(response.Body)
	if err != nil {
		log.Fatal(err)
	}
	archive, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		log.Fatal(err)
	}
	image, err := archive.Open("verity_rootfs.img")
	if err != nil {
		log.Fatal(err)
	}
	partition, err := os.OpenFile(os.Args[2], os.O_WRONLY, 0)
	if err != nil {
		log.Fatal(err)
	}
	if _, err = io.Copy(partition, image); err != nil {
		log.Fatal(err)
	}
	if err = partition.Sync(); err != nil {
		log.Fatal(err)
	}
}
