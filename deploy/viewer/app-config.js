// OHIF's configuration behind the gateway: one data source, the same address, nobody else.
window.config = {
  routerBasename: null,
  extensions: [],
  modes: [],
  customizationService: [
    { 'ohif.tours': { $set: [] } }, // no tour over the picture at the first visit
    { autoCineModalities: { $set: [] } }, // no film controls over the words of an overlay (OT)
  ],
  showStudyList: true,
  maxNumberOfWebWorkers: 2,
  showLoadingIndicator: true,
  showWarningMessageForCrossOrigin: false,
  showCPUFallbackMessage: false,
  strictZSpacingForVolumeViewport: true,
  // what Lobar makes says itself, in every object, that it is for research only
  investigationalUseDialog: { option: 'never' },
  defaultDataSourceName: 'orthanc',
  dataSources: [
    {
      namespace: '@ohif/extension-default.dataSourcesModule.dicomweb',
      sourceName: 'orthanc',
      configuration: {
        friendlyName: 'Orthanc',
        name: 'orthanc',
        qidoRoot: '/dicom-web',
        wadoRoot: '/dicom-web',
        wadoUriRoot: '/dicom-web',
        qidoSupportsIncludeField: false,
        imageRendering: 'wadors',
        thumbnailRendering: 'wadors',
        enableStudyLazyLoad: true,
        supportsFuzzyMatching: false,
        supportsWildcard: true,
        supportsStow: false,
        dicomUploadEnabled: false,
        singlepart: 'bulkdata,video', // not pdf: Orthanc renders none
        bulkDataURI: { enabled: true },
        omitQuotationForMultipartRequest: true,
      },
    },
  ],
};
