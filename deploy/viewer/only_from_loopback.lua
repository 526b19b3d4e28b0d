-- Orthanc 1.10 listens on every address. It refuses others over HTTP by its configuration, and here
-- over DICOM.
function ReceivedInstanceFilter(dicom, origin, info)
    return origin['RemoteIp'] == '127.0.0.1' or origin['RequestOrigin'] == 'RestApi'
end
