<#
.SYNOPSIS
Starts the container system.

.DESCRIPTION
Thin over `flotilla compose up`. Where flotilla is not installed, the image does its part: it makes .env and docker/secrets, and Docker
Compose does the rest.

.PARAMETER Mode
full, minimal or dev (infrastructure alone).

.PARAMETER Build
Builds the image first.
#>
param(
    [ValidateSet('full', 'minimal', 'dev')]
    [string]$Mode = 'full',
    [switch]$Build
)

Set-Location $PSScriptRoot

function Invoke-Step {
    param([string]$Program, [string[]]$Words)
    & $Program @Words
    if ($LASTEXITCODE -ne 0) { exit $LASTEXITCODE }
}

if (Get-Command flotilla -ErrorAction SilentlyContinue) {
    $words = @('compose', 'up', '--mode', $Mode)
    if ($Build) { $words += '--build' }
    Invoke-Step flotilla $words
    exit 0
}

if ($Build -or -not (docker image ls --quiet flotilla:latest)) {
    Invoke-Step docker @('build', '--file', 'docker/Dockerfile', '--tag', 'flotilla:latest', '.')
}
$user = @()
if ($IsLinux) { $user = @('--user', "$(id -u):$(id -g)") }
Invoke-Step docker (@('run', '--rm') + $user + @('--volume', "${PWD}:/work", '--workdir', '/work', 'flotilla:latest', 'init'))
Invoke-Step docker @(
    'compose', '-f', 'docker/compose/docker-compose.complete.yml', '--env-file', '.env', '--profile', $Mode, 'up', '--detach', '--wait'
)
