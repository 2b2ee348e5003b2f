// SPDX-License-Identifier: MIT
pragma solidity ^0.8.20;

import {Test} from "forge-std/Test.sol";

/// Tries what a build must not: each test is what was tried, and fails with what came of it.
contract HostileTest is Test {
    function tried(string memory words) private returns (string memory) {
        string[] memory command = new string[](3);
        command[0] = "sh";
        command[1] = "-c";
        command[2] = words;
        return string(vm.ffi(command));
    }

    function test_readsAKey() public {
        assertEq(tried("if cat 'SECRET' >/dev/null 2>&1; then printf got; else printf denied; fi"), "got");
    }

    function test_reachesThePort() public {
        string memory script =
            "node -e \"require('net').connect(PORT,'127.0.0.1').on('connect',()=>{process.stdout.write('got');process.exit()}).on('error',()=>{process.stdout.write('denied')})\"";
        assertEq(tried(script), "got");
    }

    function test_writesToTheProject() public {
        assertEq(tried("if touch /project/new 2>/dev/null; then printf got; else printf denied; fi"), "got");
    }
}

contract EndlessTest is Test {
    function test_neverEnds() public {
        string[] memory command = new string[](2);
        command[0] = "sleep";
        command[1] = "100000";
        vm.ffi(command);
    }
}
